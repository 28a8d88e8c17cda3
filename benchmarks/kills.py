"""What a `kill -9` costs: nothing that was finished, and seconds that are stated.

    python -m benchmarks.kills evaluate --kills 20

Blocks hold 16 samples, so that there are many in a few seconds of work. A command works undisturbed in one folder. In
another it is killed, its workers with it, and started again each time until it ends by itself; then in a fresh one,
until there were as many kills as asked. Each kill comes at a random moment behind the first, second or third block
that was finished since the start, or while the command still loads. All must hold the same bytes (but for
`timings.csv` and figures), and no block that was finished may be written again.
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
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

RUN = "digits-mlp-l2-g0.001-s0-22d0aead"
ZOO = Path(__file__).parent.parent / "zoo"
COMMANDS = {
    "evaluate": ["evaluate", "--attacks", "apgd-ce,fab-t", "--eps", "0.1", "--samples", "352", "--out", "results",
                 "--keep-images"],
    "audit": ["audit", "--samples", "40", "--results", "results"],
    "certify": ["certify", "--samples", "200", "--results", "results"],
    "information": ["information", "--samples", "500", "--out", "results"],
}  # fmt: skip
OTHERS = {"information": ["digits-mlp-l2-g0.01-s0-e3275ca6", "digits-mlp-none-g0-s0-cfa64d5e"]}
"""Runs that are measured beside, so that there are some twenty items."""
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
    others = [str(ZOO / "runs" / run) for run in OTHERS.get(options.command, ())]
    words = [sys.executable, str(SMALL_BLOCKS), COMMANDS[options.command][0], str(options.run), *others]
    words += [*COMMANDS[options.command][1:], "--workers", options.workers, "--threads", "1"]
    with tempfile.TemporaryDirectory() as calm:
        prepare(Path(calm), options)
        calmly = killed_often(words, Path(calm), random.Random(0), 0, 0.0)
        undisturbed, whole = calmly.seconds, contents(Path(calm))
    moments, kills, rounds, worked = random.Random(options.seed), [], 0, 0.0
    while len(kills) < options.kills:
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder), options)
            life = killed_often(words, Path(folder), moments, options.kills - len(kills), calmly.loading)
            same = contents(Path(folder)) == whole
            left = [str(path) for path in Path(folder).rglob("*.unfinished*")]
            kills, rounds, worked = kills + life.kills, rounds + 1, worked + life.seconds
            print(f"round {rounds}: finished files at each kill {[kill.kept for kill in life.kills]}", flush=True)
            print(f"the same bytes: {same}; left over: {left}", flush=True)
            if not same or left or any(kill.rewritten for kill in kills):
                sys.exit(f"{options.command}: a kill cost more than what was in work")
    met = sum(kill.kept > 0 for kill in kills)
    repeated = (worked - rounds * undisturbed) / len(kills)
    print(f"{options.command}, {options.workers} workers: {len(kills)} kills, {met} of which met finished blocks;")
    print(f"{rounds} results, each with the undisturbed bytes; no finished block was written again;")
    print(f"undisturbed {undisturbed:.1f} s, of which {calmly.loading:.1f} s until the first block is finished;")
    print(f"{repeated:.1f} s more for each kill, that start among them; load {os.getloadavg()[0]:.1f}")


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """What a certificate is about has to be there."""
    if options.command == "certify":
        (folder / "results" / "paper").mkdir(parents=True)
        shutil.copy(ZOO / "results" / "paper" / f"{options.run.name}.parquet", folder / "results" / "paper")


class Kill(NamedTuple):
    """When a command was killed, the finished files that there were, and those written again afterwards."""

    second: float
    kept: int
    rewritten: int


class Life(NamedTuple):
    """Seconds that a command took until it ended by itself, the kills on the way, and seconds from its last start to
    the first finished block."""

    seconds: float
    kills: list[Kill]
    loading: float


def killed_often(words: list[str], folder: Path, moments: random.Random, most: int, loading: float) -> Life:
    """What becomes of a command that is killed and started again, so many times at most."""
    began, kills = time.perf_counter(), []
    while True:
        kept, start = stamps(folder), time.perf_counter()
        process = subprocess.Popen(
            words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        blocks = moments.randrange(4) if len(kills) < most else None
        first = 0.0 if blocks == 0 else until_finished(process, folder, kept, blocks or 1) - start
        if blocks is None:
            process.wait()
        elif process.poll() is None:
            time.sleep(moments.uniform(0, 0.5) if blocks else moments.uniform(0.2, 1.0) * loading)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        rewritten = sum(stamp != kept[path] for path, stamp in stamps(folder).items() if path in kept)
        if process.returncode == 0:
            assert not rewritten
            return Life(time.perf_counter() - began, kills, first)
        if process.returncode != -signal.SIGKILL:
            sys.exit(f"{words}: exit code {process.returncode}")
        kills.append(Kill(round(time.perf_counter() - start, 1), len(stamps(folder)), rewritten))


def until_finished(process: "subprocess.Popen[bytes]", folder: Path, kept: Collection[str], count: int) -> float:
    """The time when a command had finished so many files more than are kept, or had ended."""
    while process.poll() is None and len(stamps(folder).keys() - kept) < count:
        time.sleep(0.05)
    return time.perf_counter()


def stamps(folder: Path) -> dict[str, int]:
    """When each finished block was written."""
    found = {}
    for path in folder.rglob(".unfinished/**/*"):
        if path.is_file() and not path.name.startswith("."):
            found[str(path)] = path.stat().st_mtime_ns
    return found


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(_IGNORED)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


if __name__ == "__main__":
    main()
