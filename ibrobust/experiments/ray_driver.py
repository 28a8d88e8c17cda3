"""Ray's driver, as a process of its own: it passes on items and answers, and knows nothing of either."""

import asyncio
import hashlib
import os
import pickle
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from ibrobust.errors import one_line
from ibrobust.experiments.lifelines import end_rest_of_session, serve_parent

IMPORTED, READY, ROOM, FAILED = "imported", "ready", "room", "failed"
"""What a driver says of itself: that Ray is loaded, and for how many tasks there is room, now or later."""

ANSWERED, LOST, APART, TOLD = "answered", "lost", "apart", "told"
"""What it says of an item: what its job answered or raised, that its workers died, that a node has another package,
and what its job tells on the way."""

_RETRIES = 3
"""How often Ray begins a task again whose worker or node is lost."""

_LOOK_AGAIN = 1.0
"""Seconds between two looks at how large the cluster is."""

_STORE = 2**28
"""Bytes of the object store of a cluster that is started here, beside what is sent to it."""


@dataclass(frozen=True)
class Cluster:
    """Which cluster, and what this machine has that all of it should have.

    Attributes:
        address: HOST:PORT or `auto`; None starts one here.
        workers: the CPUs of one that is started here.
        folder: for what Ray writes of it.
        package: as `this_package` says it.
        gpus: what of a GPU each task needs.
    """

    address: str | None
    workers: int
    folder: str
    package: dict[str, str]
    gpus: float = 0.0


def drive(pipe: Connection, parent: int, cluster: Cluster) -> None:
    """The driver's life: what is sent to every worker, then items by their numbers, until the pipe is closed."""
    # What Ray has started finds out by itself that the command was killed, but on a busy machine not within 10 seconds.
    serve_parent(parent, last=partial(end_rest_of_session, os.getpid()))
    _keep_to_itself()
    os.environ["TQDM_DISABLE"] = "1"  # One bar for all is drawn by the calling process.
    if cluster.address is None:
        # Nothing is reported to anybody, and whoever has not the word cannot talk to this cluster.
        os.environ |= {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
    try:
        sent = pipe.recv_bytes()
        import ray  # It looks at the environment now, and never again.

        _say(pipe, IMPORTED, None)
        _connect(cluster, len(sent))
        if not _room(cluster.gpus):
            _say(pipe, FAILED, "none of its nodes has a GPU, which the device cuda needs")
            return
    except Exception as error:
        _say(pipe, FAILED, _reason(error))
        return
    try:
        key = hashlib.sha256(sent).hexdigest()
        asyncio.run(_pass_on(pipe, cluster, key, ray.put(sent)))
    finally:
        ray.shutdown()


def _keep_to_itself() -> None:
    """A session of its own: a signal to the group of the calling process is that one's to handle. What Ray prints
    goes nowhere."""
    if hasattr(os, "setsid"):
        os.setsid()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _connect(cluster: Cluster, size: int) -> None:
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if cluster.address is not None:
        ray.init(cluster.address, **quiet)
        return
    gpus = None if cluster.gpus else 0  # None: as many as there are.
    ray.init(
        "local", num_cpus=cluster.workers, num_gpus=gpus, include_dashboard=False, dashboard_host="127.0.0.1",
        object_store_memory=_STORE + 2 * size, _temp_dir=cluster.folder, **quiet,
    )  # fmt: skip


async def _pass_on(pipe: Connection, cluster: Cluster, key: str, sent: Any) -> None:
    import ray

    remote = ray.remote(num_cpus=1, num_gpus=cluster.gpus, max_retries=_RETRIES)(_task())
    board: Any = ray.remote(num_cpus=0, max_restarts=-1)(_board()).remote()
    room = _room(cluster.gpus)
    _say(pipe, READY, room)

    async def answer(number: int, item: bytes) -> None:
        try:
            kind, said = await remote.remote(cluster.package, key, [sent], item, number, board)
        except ray.exceptions.LocalRayletDiedError:
            os._exit(1)  # Ray ends a driver whose node dies. Another one takes over.
        except ray.exceptions.RayError as error:
            kind, said = LOST, f"Ray lost the work: {_reason(error)}"
        _say(pipe, kind, (number, said))

    async def look() -> None:
        nonlocal room
        while True:
            await asyncio.sleep(_LOOK_AGAIN)
            if (now := max(1, _room(cluster.gpus))) != room:
                room = now
                _say(pipe, ROOM, room)

    async def listen() -> None:
        while True:
            await asyncio.sleep(_LOOK_AGAIN)
            with suppress(ray.exceptions.RayError):  # Its node is lost: progress is not what work waits for.
                for told in await board.take.remote():
                    _say(pipe, TOLD, told)

    # Read without end by a thread: whoever writes both ways and reads neither waits for ever.
    come: asyncio.Queue[bytes | None] = asyncio.Queue()
    threading.Thread(target=_read, args=(pipe, asyncio.get_running_loop(), come), daemon=True).start()
    tasks = {asyncio.create_task(look()), asyncio.create_task(listen())}
    while (message := await come.get()) is not None:
        task = asyncio.create_task(answer(*pickle.loads(message)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    for task in tasks:
        task.cancel()


def _read(pipe: Connection, loop: asyncio.AbstractEventLoop, come: "asyncio.Queue[bytes | None]") -> None:
    message: bytes | None = b""
    while message is not None:
        try:
            message = pipe.recv_bytes()
        except (EOFError, OSError):
            message = None
        loop.call_soon_threadsafe(come.put_nowait, message)


def _room(gpus: float) -> int:
    """How many tasks the cluster has room for; 0 where they need a GPU and it has none."""
    import ray

    return room_of(ray.cluster_resources(), gpus)  # type: ignore[no-untyped-call]


def room_of(resources: dict[str, float], gpus: float) -> int:
    """As many tasks as there are CPUs, at least one, and no more than the GPUs allow."""
    room = max(1, int(resources.get("CPU", 0)))
    return min(room, int(resources.get("GPU", 0) / gpus + 1e-6)) if gpus else room


def _board() -> type:
    """What workers write on what they tell, the latest of each item, and the driver reads. Ray sends a class within a
    function as it is."""

    class Board:
        def __init__(self) -> None:
            self.told: dict[int, bytes] = {}

        def tell(self, number: int, message: bytes) -> None:
            self.told[number] = message

        def take(self) -> list[tuple[int, bytes]]:
            told, self.told = list(self.told.items()), {}
            return told

    return Board


def _task() -> Callable[..., tuple[str, Any]]:
    """What a worker of the cluster runs. Ray sends a function within a function as it is, so that a node without this
    package, or with another one, can say so."""

    def done(here: dict[str, str], key: str, sent: list[Any], item: bytes, number: int, board: Any) -> tuple[str, Any]:
        import ray

        node = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        try:
            import ibrobust
        except ImportError as error:
            return "apart", f"node {node} of the Ray cluster does not have ibrobust {here['ibrobust']}: {error}"
        try:
            from ibrobust.experiments.ray_worker import answer
            from ibrobust.experiments.same_package import differences, this_package
        except ImportError:
            there, apart = ibrobust.__version__, here["ibrobust"]
            return (
                "apart",
                f"node {node} of the Ray cluster has ibrobust {there}, and here is {apart}; install the same",
            )
        if apart := differences(this_package(), here):
            return "apart", f"node {node} of the Ray cluster has {apart}; install the same"
        return "answered", answer(key, sent, item, lambda message: board.tell.remote(number, message))

    return done


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return one_line(f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__)


def _say(pipe: Connection, kind: str, what: Any) -> None:
    with suppress(OSError):
        pipe.send_bytes(pickle.dumps((kind, what)))
