"""What a `kill -9` costs: nothing that was finished, and seconds that are stated.

    python -m benchmarks.kills evaluate --kills 10

A command works undisturbed in one folder. In another it is killed, its workers with it, at random moments, as often as
asked, and started again each time; at the end it is let go on. Both folders must hold the same bytes (but for
`timings.csv`), and no block that was finished may be written again.
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

RUN = "digits-mlp-l2-g0.001-s0-22d0aead"
ZOO = Path(__file__).parent.parent / "zoo"
COMMANDS = {
    "evaluate": ["evaluate", "--protocol", "strict", "--eps", "0.1", "--samples", "160", "--out", "results",
                 "--keep-images"],
    "audit": ["audit", "--samples", "40", "--results", "results"],
    "certify": ["certify", "--samples", "200", "--results", "results"],
}  # fmt: skip
_IGNORED = ("timings.csv", ".png", ".svg")


def main() -> None:
    parser = argparse.ArgumentParser(description="Random kill -9 of a command.")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", default="2")
    parser.add_argument("--run", type=Path, default=ZOO / "runs" / RUN)
    parser.add_argument("--patience", type=float, default=1.0, help="share of the undisturbed time to wait at most")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as calm, tempfile.TemporaryDirectory() as killed:
        words = [sys.executable, "-m", f"ibrobust.{COMMANDS[options.command][0]}", str(options.run)]
        words += [*COMMANDS[options.command][1:], "--workers", options.workers, "--threads", "1"]
        for folder in (calm, killed):
            prepare(Path(folder), options)
        began = time.perf_counter()
        finished(words, calm)
        undisturbed = time.perf_counter() - began
        worked, rewritten, lost = killed_often(words, Path(killed), options, undisturbed * options.patience)
        same = contents(Path(calm)) == contents(Path(killed))
        left = [str(path) for path in Path(killed).rglob("*.unfinished*")]
        print(f"{options.command}, {options.workers} workers: {lost} kills while it worked")
        print(f"undisturbed {undisturbed:.1f} s, with kills {worked:.1f} s in all")
        print(
            f"{(worked - undisturbed) / max(lost, 1):.1f} s repeated for each kill, the start of a command among them"
        )
        print(f"finished blocks written again: {rewritten}; the same bytes: {same}; left over: {left}")
        sys.exit(0 if same and not rewritten and not left else 1)


def prepare(folder: Path, options: argparse.Namespace) -> None:
    """What a certificate is about has to be there."""
    if options.command == "certify":
        (folder / "results" / "paper").mkdir(parents=True)
        shutil.copy(ZOO / "results" / "paper" / f"{options.run.name}.parquet", folder / "results" / "paper")


def killed_often(words: list[str], folder: Path, options: argparse.Namespace, longest: float) -> tuple[float, int, int]:
    """Seconds that it worked in all, finished files that were written again, and kills that met it at work."""
    moments, worked, rewritten, lost = random.Random(options.seed), 0.0, 0, 0
    while lost < options.kills:
        kept = stamps(folder)
        began = time.perf_counter()
        process = subprocess.Popen(
            words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(moments.uniform(0.2, 1.0) * longest)
        except subprocess.TimeoutExpired:
            lost += 1
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        worked += time.perf_counter() - began
        rewritten += sum(stamps(folder).get(path, stamp) != stamp for path, stamp in kept.items())
        if process.returncode == 0:
            break
    began = time.perf_counter()
    finished(words, str(folder))
    return worked + time.perf_counter() - began, rewritten, lost


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
