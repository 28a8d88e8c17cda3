"""What `kill -9` of a part of a Ray cluster costs an evaluation: nothing that was finished, and not a byte.

    python -m benchmarks.ray_kills --times 5

Blocks hold 16 samples, so that there are many in a few seconds of work. An evaluation works undisturbed on two
processes. On Ray it is done again as often as asked for each victim: a worker, the raylet, Ray's driver, and the
command itself, which is started again. The victim dies at a random moment after the first block is kept. All must
leave the same bytes, and no block that was kept may be written again.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from benchmarks.kills import SMALL_BLOCKS, contents, stamps

ZOO = Path(__file__).parent.parent / "zoo"
WORDS = ["--attacks", "apgd-ce,fab-t", "--eps", "0.1", "--keep-images", "--out", "results"]
VICTIMS = {"worker": "ray::", "raylet": "raylet/raylet ", "Ray's driver": "import spawn_main",
           "command": "small_blocks"}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Random kill -9 of a Ray worker, a raylet, a driver, a command.")
    parser.add_argument("run", nargs="?", default=str(ZOO / "runs" / "digits-mlp-l2-g0.001-s0-22d0aead"))
    parser.add_argument("--samples", default="128")
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=list(VICTIMS))
    options = parser.parse_args()
    words = [sys.executable, str(SMALL_BLOCKS), "evaluate", options.run, *WORDS, "--samples", options.samples]
    moments, failed = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory() as calm:
        undisturbed = seconds([*words, "--workers", "2"], Path(calm))
        expected = contents(Path(calm))
        with tempfile.TemporaryDirectory() as folder:
            on_ray = seconds([*words, "--engine", "ray", "--workers", "2"], Path(folder))
            same = contents(Path(folder)) == expected
        print(f"undisturbed: 2 processes {undisturbed:.1f} s, Ray with 2 workers {on_ray:.1f} s; same bytes: {same}")
        print("victim        killed after s  seconds  kept then  rewritten  same bytes  left", flush=True)
        for victim in [name for name in options.victims for _ in range(options.times)]:
            with tempfile.TemporaryDirectory() as folder:
                row = disturbed([*words, "--engine", "ray", "--workers", "2"], Path(folder), victim, moments)
                row["same"] = contents(Path(folder)) == expected
            failed += not row["same"] or row["rewritten"] > 0 or row["left"] > 0
            print(
                f"{victim:<14}{row['after']:14.1f}{row['seconds']:9.1f}{row['kept']:11}{row['rewritten']:11}"
                f"{row['same']!s:>12}{row['left']:6}",
                flush=True,
            )
    sys.exit(1 if failed else 0)


def seconds(words: list[str], folder: Path) -> float:
    began = time.perf_counter()
    subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def disturbed(words: list[str], folder: Path, victim: str, moments: random.Random) -> dict[str, float]:
    """What became of an evaluation one part of which was killed."""
    mark = f"mark={uuid.uuid4()}"
    began = time.perf_counter()
    process = started(words, folder, mark)
    while not stamps(folder) and process.poll() is None:
        time.sleep(0.1)
    time.sleep(moments.uniform(0, 2))
    kept, after = stamps(folder), time.perf_counter() - began
    found = [pid for pid, command in marked(mark) if VICTIMS[victim] in command]
    if victim == "command":
        found = [process.pid]
    os.kill(moments.choice(sorted(found)), signal.SIGKILL)
    now: dict[str, int] = {}
    while process.poll() is None or (victim == "command" and process.returncode < 0):
        if process.poll() is not None:
            process = started(words, folder, mark)
        now |= stamps(folder)
        time.sleep(0.1)
    took = time.perf_counter() - began
    time.sleep(3)
    rewritten = sum(now.get(path, stamp) != stamp for path, stamp in kept.items())
    return {"after": after, "seconds": took, "kept": len(kept), "rewritten": rewritten, "left": len(marked(mark))}


def started(words: list[str], folder: Path, mark: str) -> "subprocess.Popen[bytes]":
    key, _, value = mark.partition("=")
    return subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, env={**os.environ, key: value})


def marked(mark: str) -> list[tuple[int, str]]:
    """Process id and command line of all that carry a mark in their environment."""
    found = []
    for place in Path("/proc").iterdir():
        try:
            if place.name.isdecimal() and mark.encode() in (place / "environ").read_bytes().split(b"\0"):
                command = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append((int(place.name), command))
        except OSError:
            continue
    return found


if __name__ == "__main__":
    main()
