"""A signal ends a command with one line and the exit code that a shell gives it, and nothing of it is left."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT

SIGNALS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")


class Command:
    """`python -m <words>` in a session of its own, and whatever it starts."""

    def __init__(self, *words: str, cwd: Path = ROOT, ignored: tuple[str, ...] = ()) -> None:
        self.mark = f"IBROBUST_TEST={uuid.uuid4()}"

        def as_a_shell_starts_it() -> None:
            for name in SIGNALS:
                signal.signal(getattr(signal, name), signal.SIG_IGN if name in ignored else signal.SIG_DFL)

        key, _, value = self.mark.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True, preexec_fn=as_a_shell_starts_it,  # noqa: PLW1509
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", key: value},
        )  # fmt: skip

    @property
    def alive(self) -> list[int]:
        """Every process that it has started, and itself."""
        return [int(place.name) for place in Path("/proc").iterdir() if place.name.isdecimal() and self._owns(place)]

    def _owns(self, place: Path) -> bool:
        try:
            return self.mark.encode() in (place / "environ").read_bytes().split(b"\0")
        except OSError:
            return False

    def ended(self) -> tuple[int, str]:
        """Its exit code and what it said on stderr; waits until nothing of it is left."""
        _, err = self.process.communicate(timeout=60)
        until(lambda: not self.alive)
        return self.process.returncode, err


def heeds(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal; Python's own start has none for SIGTERM."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def until(holds: Callable[[], object]) -> None:
    patience = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < patience
        time.sleep(0.02)


@contextmanager
def running(*words: str, **kwargs):
    command = Command(*words, **kwargs)
    try:
        yield command
    finally:
        for pid in command.alive:
            os.kill(pid, signal.SIGKILL)
        command.process.communicate()


@pytest.mark.parametrize("whom", [os.kill, os.killpg])
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_ends_a_command_and_its_workers(name, workers, whom):
    with running("tests.patience", workers, "works") as command:
        assert command.process.stdout.readline() == "ready\n"
        whom(command.process.pid, getattr(signal, name))
        code, err = command.ended()
    assert code == 128 + getattr(signal, name)
    assert err == f"{SIGNALS[name]}: finished work is kept, and the same command goes on from there\n"


def test_a_library_that_loses_the_exception_does_not_keep_a_command_alive():
    with running("tests.patience", "1", "loses") as command:
        assert command.process.stdout.readline() == "ready\n"
        command.process.terminate()
        code, err = command.ended()
    assert code == 128 + signal.SIGTERM
    assert err.count("\n") == 1


def test_more_signals_than_one_are_one():
    with running("tests.patience", "2", "works") as command:
        assert command.process.stdout.readline() == "ready\n"
        for name in ("SIGHUP", "SIGINT", "SIGTERM"):
            os.killpg(command.process.pid, getattr(signal, name))
        code, err = command.ended()
    assert code - 128 in [getattr(signal, name) for name in SIGNALS]
    assert err.count("\n") == 1


def test_a_signal_that_is_ignored_stays_so():
    """As under `nohup`, for the workers, too."""
    with running("tests.patience", "2", "works", ignored=("SIGHUP",)) as command:
        assert command.process.stdout.readline() == "ready\n"
        os.killpg(command.process.pid, signal.SIGHUP)
        os.kill(command.process.pid, signal.SIGINT)
        code, err = command.ended()
    assert code == 128 + signal.SIGINT
    assert err.startswith("interrupted: ")


def test_workers_die_with_their_parent():
    with running("tests.patience", "2", "works") as command:
        assert command.process.stdout.readline() == "ready\n"
        assert len(command.alive) >= 3
        command.process.kill()
        code, err = command.ended()
    assert code == -signal.SIGKILL
    assert err == ""


def test_what_a_child_has_started_in_its_own_session_ends_with_the_parent():
    """As Ray's driver and what Ray starts."""
    with running("tests.bequest") as command:
        assert command.process.stdout.readline() == "ready\n"
        assert len(command.alive) >= 4
        command.process.kill()
        code, err = command.ended()
    assert (code, err) == (-signal.SIGKILL, "")


@pytest.mark.parametrize("delay", [0.1, 0.3, 0.6])
def test_while_a_command_is_loaded(delay, tmp_path):
    with running("ibrobust.evaluate", "--samples", "20", cwd=tmp_path) as command:
        until(lambda: heeds(command.process.pid, signal.SIGTERM))
        time.sleep(delay)
        command.process.send_signal(signal.SIGINT)
        code, err = command.ended()
    assert (code, err.count("\n")) == (130, 1), err
