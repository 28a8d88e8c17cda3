"""What a `kill -9` costs: nothing that was finished, and seconds that are stated.

    python -m benchmarks.kills evaluate --kills 20

Blocks hold 16 samples, so that there are many in a few seconds of work. A command works undisturbed in one folder. In
another it is killed, its workers with it, at random moments, and started again each time until it ends by itself;
then in a fresh one, until there were as many kills as asked. All must hold the same bytes (but for `timings.csv` and
figures), and no block that was finished may be written again.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

RUN = "digits-mlp-l2-g0.001-s0-22d0aead"
ZOO = Path(__file__).parent.parent / "zoo"
COMMANDS = {
    "evaluate": ["evaluate", "--attacks", "apgd-ce,fab-t", "--eps", "0.1", "--samples", "128", "--out", "results",
                 "--keep-images"],
    "audit": ["audit", "--samples", "40", "--results", "results"],
    "certify": ["certify", "--samples", "200", "--results", "results"],
    "information": ["information", "--samples", "1000", "--out", "results"],
}  # fmt: skip
SMALL_BLOCKS = Path(__file__).parent / "small_blocks.py"
_IGNORED = ("timings.csv", ".png", ".svg")


def main() -> None:
    parser = argparse.ArgumentParser(description="Random kill -9 of a command.")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", default="2")
    parser.add_argument("--run", type=Path, default=ZOO / "runs" / RUN)
    options = parser.parse_args()
    words = [sys.executable, str(SMALL_BLOCKS), COMMANDS[options.command][0], str(options.run)]
    words += [*COMMANDS[options.command][1:], "--workers", options.workers, "--threads", "1"]
    with tempfile.TemporaryDirectory() as calm:
        prepare(Path(calm), options)
        began = time.perf_counter()
        finished(words, calm)
        undisturbed, whole = time.perf_counter() - began, contents(Path(calm))
    moments, kills, rounds, worked = random.Random(options.seed), [], 0, 0.0
    while len(kills) < options.kills:
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder), options)
            seconds, met = killed_often(words, Path(folder), moments, options.kills - len(kills), undisturbed)
            same = contents(Path(folder)) == whole
            left = [str(path) for path in Path(folder).rglob("*.unfinished*")]
            kills, rounds, worked = kills + met, rounds + 1, worked + seconds
            print(f"round {rounds}: killed at {met}; the same bytes: {same}; left over: {left}", flush=True)
            if not same or left or any(kill.rewritten for kill in kills):
                sys.exit(f"{options.command}: a kill cost more than what was in work")
    met = sum(kill.kept > 0 for kill in kills)
    repeated = (worked - rounds * undisturbed) / len(kills)
    print(f"{options.command}, {options.workers} workers: {len(kills)} kills, {met} of which met finished blocks;")
    print(f"{rounds} results, each with the undisturbed bytes; no finished block was written again;")
    print(f"undisturbed {undisturbed:.1f} s; {repeated:.1f} s repeated for each kill,")
    print("the start of a command, which every kill costs, among them")


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """What a certificate is about has to be there."""
    if options.command == "certify":
        (folder / "results" / "paper").mkdir(parents=True)
        shutil.copy(ZOO / "results" / "paper" / f"{options.run.name}.parquet", folder / "results" / "paper")


class Kill(NamedTuple):
    """When a command was killed, the finished blocks that there were, and those written again afterwards."""

    second: float
    kept: int
    rewritten: int


def killed_often(
    words: list[str], folder: Path, moments: random.Random, most: int, undisturbed: float
) -> tuple[float, list[Kill]]:
    """Seconds that it took until it ended by itself, and the kills on the way."""
    began, kills = time.perf_counter(), []
    while True:
        kept = stamps(folder)
        start = time.perf_counter()
        process = subprocess.Popen(
            words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(moments.uniform(0.3, 1.0) * undisturbed if len(kills) < most else None)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        rewritten = sum(stamp != kept[path] for path, stamp in stamps(folder).items() if path in kept)
        if process.returncode == 0:
            assert not rewritten
            return time.perf_counter() - began, kills
        kills.append(Kill(round(time.perf_counter() - start, 1), len(stamps(folder)), rewritten))


def stamps(folder: Path) -> dict[str, int]:
    """When each finished block was written."""
    found = {}
    for path in folder.rglob(".unfinished/**/*"):
        if path.is_file() and not path.name.startswith("."):
            found[str(path)] = path.stat().st_mtime_ns
    return found


def finished(words: list[str], folder: str) -> None:
    subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(_IGNORED)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


if __name__ == "__main__":
    main()
