"""Jobs on a Ray cluster, one that is there or one that is started here for the while.

Ray's driver is a process of its own (`ray_driver.py`), which this one talks to through a pipe. Where the driver dies,
as it does with the node that it is on, another takes over what has no answer yet. What Ray prints, does with signals or
leaves behind stays in that process.
"""

import atexit
import os
import pickle
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from ibrobust.errors import BadInput, RunFailed
from ibrobust.experiments.jobs import Outcome, Workload
from ibrobust.experiments.lifelines import end_rest_of_session, signals_held
from ibrobust.experiments.processes import outcome_of
from ibrobust.experiments.ray_driver import ANSWERED, FAILED, LOST, READY, ROOM, TOLD, Cluster, drive
from ibrobust.experiments.same_package import this_package
from ibrobust.experiments.shipping import shipped
from ibrobust.files import held, let_go

_TRIES = 3
"""How many drivers in a row may die without an answer."""

_CONNECTED, _ANSWERED, _STARTED = 5.0, 20.0, 120.0
"""Seconds that an address has to take a connection, a cluster at it to answer, and a cluster to start here."""

_FOLDER = "ibr-"

_PATIENCE = 10.0
"""Seconds that a driver has to take leave of a cluster."""


def ray_cluster(work: Workload, workers: int, address: str | None) -> Iterator[Outcome]:
    """An engine: items are Ray's tasks, as many at a time as the cluster has CPUs, and GPUs where they need some.

    Args:
        workers: CPUs of the cluster that is started here where there is no address.
        address: HOST:PORT of a cluster, or `auto`.

    Raises:
        BadInput: Ray is not installed, no cluster answers at the address, or one of its nodes has another version of
            this package.
        RunFailed: no cluster can be started here, or the cluster is lost for good.
    """
    if find_spec("ray") is None:
        raise BadInput("engine 'ray' is not installed (No module named 'ray'): pip install 'ibrobust[ray]'")
    if address is not None:
        _require_listening(address)
    item = work.next_item()
    if item is None:
        return
    sent = shipped(work)
    # Ray's sockets lie in it, and a system takes no more than some hundred characters for the path of one.
    where = "/tmp" if len(tempfile.gettempdir()) > 20 and os.path.isdir("/tmp") else None
    with _own_folder(Path(where or tempfile.gettempdir())) as folder:
        cluster = Cluster(address, workers, folder, this_package(), work.gpus)
        yield from _Tasks(work, sent, cluster, [item]).outcomes()


@contextmanager
def _own_folder(parent: Path) -> Iterator[str]:
    """A folder for what Ray writes. A process that is killed leaves it behind; the next one removes it."""
    for left in parent.glob(f"{_FOLDER}*"):
        with suppress(OSError):
            if (handle := held(left)) is not None:
                shutil.rmtree(left, ignore_errors=True)
                let_go(handle)
    handle = None
    while handle is None:  # Another process may have taken it for one that was left behind.
        folder = tempfile.mkdtemp(prefix=_FOLDER, dir=parent)
        handle = held(Path(folder))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        let_go(handle)


@dataclass
class _Driver:
    """The process that talks to Ray, this side of its pipe, and how many tasks the cluster has room for."""

    process: BaseProcess
    pipe: Connection
    room: int = 0

    def say(self, what: object) -> None:
        with suppress(OSError):  # It has died, which is heard where it is listened to.
            self.pipe.send_bytes(what if isinstance(what, bytes) else pickle.dumps(what))

    def heard(self) -> tuple[str, Any] | None:
        """What it says next; None where it has died."""
        try:
            kind, said = pickle.loads(self.pipe.recv_bytes())
        except (EOFError, OSError):
            return None
        return kind, said

    def __post_init__(self) -> None:
        # A generator that nobody closes does not keep the interpreter from ending.
        atexit.register(self.stop)

    def stop(self, *, politely: bool = False) -> None:
        atexit.unregister(self.stop)
        self.pipe.close()
        if politely:
            self.process.join(_PATIENCE)
        _kill_session(self.process)


@dataclass
class _Tasks:
    """The items that a cluster works on, each by a number, until it has an answer."""

    work: Workload
    sent: bytes
    cluster: Cluster
    first: list[Any]
    running: dict[int, Any] = field(default_factory=dict)
    begun: int = 0
    deaths: int = 0

    def outcomes(self) -> Iterator[Outcome]:
        driver = self._started()
        politely = False
        try:
            while self._hand_out(driver) or self.running:
                if (heard := driver.heard()) is None:
                    driver = self._replaced(driver)
                    continue
                kind, said = heard
                if kind == ROOM:
                    driver.room = said
                    continue
                if kind == TOLD:
                    self._told(*said)
                    continue
                number, answer = said
                item = self.running.pop(number)
                self.deaths = 0
                if kind == ANSWERED:
                    yield outcome_of(item, *pickle.loads(answer))
                elif kind == LOST:
                    yield Outcome(item, failure=RunFailed(answer))
                else:
                    raise BadInput(answer)
            politely = self.cluster.address is not None
        finally:
            driver.stop(politely=politely)

    def _told(self, number: int, message: bytes) -> None:
        if number in self.running:  # What is heard after the answer says nothing new.
            self.work.told(self.running[number], pickle.loads(message))

    def _hand_out(self, driver: _Driver) -> bool:
        """Give the cluster as many items as it has room for; whether there was one."""
        begun = self.begun
        while len(self.running) < driver.room and (item := self._next()) is not None:
            self.running[self.begun] = item
            driver.say((self.begun, pickle.dumps(item)))
            self.begun += 1
        return self.begun > begun

    def _next(self) -> Any:
        return self.first.pop() if self.first else self.work.next_item()

    def _replaced(self, driver: _Driver) -> _Driver:
        """Another driver in the place of one that has died, at work on the same items."""
        driver.stop()
        self.deaths += 1
        if self.deaths >= _TRIES:
            raise RunFailed("Ray's driver died again and again, with nothing done in between")
        if self.cluster.address is not None:
            try:
                _require_listening(self.cluster.address)
            except BadInput as error:
                raise RunFailed(f"the Ray cluster is gone: {error}") from error
        another = self._started()
        for number, item in self.running.items():
            another.say((number, pickle.dumps(item)))
        return another

    def _started(self) -> _Driver:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=drive, args=(theirs, os.getpid(), self.cluster))
        try:
            with signals_held():
                process.start()
        finally:
            theirs.close()
        driver = _Driver(process, ours)
        try:
            driver.say(self.sent)
            driver.room = self._room(driver)
        except BaseException:
            driver.stop()
            raise
        return driver

    def _room(self, driver: _Driver) -> int:
        """How many tasks the cluster has room for, once it is there."""
        address = self.cluster.address
        what = "no Ray cluster could be started here" if address is None else f"address {address!r}"
        refused = RunFailed if address is None else BadInput
        until = time.monotonic() + _STARTED
        while driver.pipe.poll(max(0.0, until - time.monotonic())):
            heard = driver.heard()
            if heard is None:
                raise refused(f"{what}: Ray's driver died")
            kind, said = heard
            if kind == READY:
                return int(said)
            if kind == FAILED:
                raise refused(f"{what}: {said}")
            until = time.monotonic() + (_STARTED if address is None else _ANSWERED)
        raise refused(f"{what}: nothing that speaks Ray has answered there")


def _require_listening(address: str) -> None:
    """Raises:
    BadInput: nobody takes connections at the address.
    """
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port[:6]) < 2**16):
        raise BadInput(f"address {address!r}; write HOST:PORT, or auto for the cluster that $RAY_ADDRESS names")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECTED).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadInput(f"address {address!r}: no Ray cluster can be reached there: {reason}") from error


def _kill_session(driver: BaseProcess) -> None:
    """End a driver and, where there is Linux, all that it has started: elsewhere that ends by itself, later."""
    assert driver.pid is not None
    driver.kill()
    end_rest_of_session(driver.pid)
    driver.join()
