"""How commands end on a signal: exit code, seconds, lines on stderr, processes left.

    python -m benchmarks.signals --commands evaluate train --workers 1 2 ray --signals SIGINT --whom parent

A row takes some ten seconds of two cores, with Ray twenty. Each command is begun in a session of its own, as a shell
does; once all its workers have loaded PyTorch and worked for a while, the signal is sent to the parent alone or to
its group. A `kill -9` of the parent is tried, too: its workers are to end within 10 seconds.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from benchmarks.ray_kills import marked

ZOO = Path(__file__).parent.parent / "zoo"
RUNS = str(ZOO / "runs")
COMMANDS = {
    "evaluate": ["evaluate", RUNS, "--protocol", "strict"],
    "train": ["train", "--recipe", str(ZOO / "recipes" / "digits.toml"), "--epochs", "5000"],
    "audit": ["audit", RUNS, "--protocol", "strict", "--results", "results"],
    "certify": ["certify", RUNS, "--protocol", "strict", "--results", "results", "--samples", "500"],
    "information": ["information", RUNS],
}
WORKERS = {
    "1": ["--workers", "1"],
    "2": ["--workers", "2"],
    "ray": ["--engine", "ray", "--workers", "2"],
}
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGKILL")


def main() -> None:
    parser = argparse.ArgumentParser(description="How commands end on signals.")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--workers", nargs="+", choices=WORKERS, default=list(WORKERS))
    parser.add_argument("--signals", nargs="+", choices=SIGNALS, default=list(SIGNALS))
    parser.add_argument("--whom", nargs="+", choices=("parent", "group"), default=["parent", "group"])
    options = parser.parse_args()
    for name in SIGNALS[
        :3
    ]:  # A shell's background job ignores SIGINT, and what nohup starts SIGHUP: children would, too.
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    print("command      workers  signal   whom    code  seconds  lines  left  load", flush=True)
    failed = 0
    for command, workers, name, whom in [
        (command, workers, name, whom)
        for command in options.commands
        for workers in options.workers
        for name in options.signals
        for whom in options.whom
        if not (name == "SIGKILL" and whom == "group")
    ]:
        with tempfile.TemporaryDirectory() as folder:
            code, seconds, said, left = ended(command, workers, getattr(signal, name), whom, Path(folder))
        lines = [line for line in said.splitlines() if not line.startswith(("warning: ", "digits-")) and line]
        expected = -signal.SIGKILL if name == "SIGKILL" else 128 + getattr(signal, name)
        failed += code != expected or left > 0 or len(lines) != (name != "SIGKILL")
        print(
            f"{command:<13}{workers:<9}{name:<9}{whom:<8}{code:4}{seconds:9.1f}{len(lines):7}{left:6}"
            f"{os.getloadavg()[0]:6.1f}",
            flush=True,
        )
    sys.exit(1 if failed else 0)


def ended(command: str, workers: str, number: int, whom: str, folder: Path) -> tuple[int, float, str, int]:
    """Exit code, seconds until nothing was left (10 at most), what was said, and how many processes were left."""
    if "results" in COMMANDS[command]:
        shutil.copytree(ZOO / "results", folder / "results")
    mark = uuid.uuid4().hex
    words = [sys.executable, "-m", f"ibrobust.{COMMANDS[command][0]}", *COMMANDS[command][1:]]
    words += WORKERS[workers]
    with (folder / "said").open("w+", encoding="utf-8") as said:
        process = subprocess.Popen(
            words, cwd=folder, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True,
            env={**os.environ, "mark": mark},
        )  # fmt: skip
        wait_for_work(process, f"mark={mark}", 1 if workers == "1" else 3)
        began = time.perf_counter()
        (os.kill if whom == "parent" else os.killpg)(process.pid, number)
        process.wait()
        while marked(f"mark={mark}") and time.perf_counter() - began < 10:
            time.sleep(0.05)
        seconds, left = time.perf_counter() - began, marked(f"mark={mark}")
        for pid, _ in left:
            os.kill(pid, signal.SIGKILL)
        said.seek(0)
        return process.returncode, seconds, said.read(), len(left)


def wait_for_work(process: "subprocess.Popen[bytes]", mark: str, count: int) -> None:
    """Wait until so many processes, the parent among them, have loaded PyTorch, and a while longer."""
    while process.poll() is None and sum(has_torch(pid) for pid, _ in marked(mark)) < count:
        time.sleep(0.1)
    time.sleep(3)
    if process.poll() is not None:
        raise SystemExit(f"it ended by itself, with exit code {process.returncode}")


def has_torch(pid: int) -> bool:
    try:
        return "libtorch_cpu" in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


if __name__ == "__main__":
    main()
