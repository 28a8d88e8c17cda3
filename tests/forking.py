"""Processes that begin with everything imported: `python -m ibrobust.train` loads torch for seconds, a fork has it.

A server that has imported the package as users have it, without the checks of shapes, forks itself for each command.
What a process imports and how it starts is tested with real ones.
"""

import atexit
import gc
import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
FORKED_WORKERS = "IBROBUST_TESTS_FORK_WORKERS"
"""Where the environment has it, workers of a command are forked too; what they are sent is pickled all the same."""
LIBRARIES = (
    "torchvision",
    "seaborn",
    "pyarrow.parquet",
    "sklearn.neighbors",
    "scipy.stats",
)


class Forked:
    """`python -m <words>`, forked; used as a `subprocess.Popen` is."""

    def __init__(self, server: "ForkServer", words: Sequence[str], cwd: Path, into: Path, env: dict[str, str]) -> None:
        self._server, self._into, self.returncode = server, into, None
        self.pid = server.told({"words": words, "cwd": str(cwd), "into": str(into), "env": {**ENVIRONMENT, **env}})

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._server.told({"wait": self.pid})
        return self.returncode

    def wait(self, timeout: float = 600) -> int:
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                self.send_signal(signal.SIGKILL)
                raise subprocess.TimeoutExpired(str(self.pid), timeout, *self.said())
            time.sleep(0.02)
        return self.returncode

    def said(self) -> tuple[str, str]:
        return tuple(self._into.with_suffix(end).read_text(encoding="utf-8") for end in (".out", ".err"))

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class ForkServer:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forking"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
            encoding="utf-8", env={**os.environ, **ENVIRONMENT},
        )  # fmt: skip

    def told(self, order: dict[str, Any]) -> Any:
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        with self._process:
            self._process.stdin.close()


def serve() -> dict[str, Any] | None:
    """Fork for each order; in the new process return what is ordered, in the server, at the end, None."""
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            pid, status = os.waitpid(order["wait"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if answer == 0:
                return order
        print(json.dumps(answer), flush=True)
    return None


def become(order: dict[str, Any]) -> None:
    """Run the ordered module as `python -m` does, in its folder and environment, with its own stdout and stderr."""
    into = Path(order["into"])
    for number, file in enumerate((Path(os.devnull), into.with_suffix(".out"), into.with_suffix(".err"))):
        opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["cwd"])
    sys.path[0], sys.argv = order["cwd"], order["words"]
    if order["env"].get(FORKED_WORKERS):
        processes = import_module("ibrobust.experiments.processes")
        processes.get_context = lambda _: multiprocessing.get_context("fork")
    code: object = 0
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    # An interpreter that ends visits every object, which copies the server's memory page by page.
    threading._shutdown()
    atexit._run_exitfuncs()
    if isinstance(code, str):
        print(code, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def load() -> None:
    """Import what commands import, but for adapters of optional libraries, and start no thread."""
    for name in LIBRARIES:
        import_module(name)
    for module in walk_packages([str(ROOT / "ibrobust")], "ibrobust.", onerror=lambda _: None):
        command = module.name.count(".") == 1 and not module.ispkg
        if not command and not module.name.startswith(("ibrobust.backends", "ibrobust.subjects.formats")):
            with suppress(ImportError):
                import_module(module.name)
    quick_figures = import_module("tests.quick_figures")
    quick_figures.install()
    quick_figures.draw_once()
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    load()
    if (ordered := serve()) is not None:
        become(ordered)
    os._exit(0)
