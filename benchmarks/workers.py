"""How long one evaluation takes with one worker of two threads, with two of one, and with two on Ray; and what keeping
images costs.

    python -m benchmarks.workers zoo/mnist/mnist-lenet-none-adv0.2-g0-s0-85d0d63f --samples 5000 --rounds 3

Each round runs every case once, one after the other, so that another hour of a busy machine is another hour for all.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

CASES = {
    "1 worker, 2 threads": ["--workers", "1", "--threads", "2"],
    "2 workers, 1 thread": ["--workers", "2", "--threads", "1"],
    "Ray, 2 workers, 1 thread": ["--engine", "ray", "--workers", "2", "--threads", "1"],
    "1 worker, 2 threads, images": ["--workers", "1", "--threads", "2", "--keep-images"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Wall and CPU time of an evaluation by workers.")
    parser.add_argument("run")
    parser.add_argument("--samples", default="5000")
    parser.add_argument("--protocol", default="strict")
    parser.add_argument("--eps", default="0.1")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    words = [options.run, "--samples", options.samples, "--protocol", options.protocol, "--eps", options.eps]
    print("round  case                          wall s   CPU s  load", flush=True)
    found: dict[str, list[float]] = {case: [] for case in CASES}
    apart = 0
    for turn in range(options.rounds):
        contents = set()
        for case, flags in CASES.items():
            with tempfile.TemporaryDirectory() as folder:
                wall, cpu = timed([*words, *flags, "--out", folder])
                (results,) = Path(folder).glob("*/*.parquet")
                contents.add(results.read_bytes())
            found[case].append(wall)
            said = "       -" if "ray" in flags else f"{cpu:8.1f}"  # Ray's processes are nobody's children.
            print(f"{turn + 1:<7}{case:<28}{wall:8.1f}{said}{os.getloadavg()[0]:6.1f}", flush=True)
        apart += len(contents) > 1
    print(f"\n{'case':<28}  median s  faster than the first")
    for case, seconds in found.items():
        ratio = median(found[next(iter(CASES))]) / median(seconds)
        print(f"{case:<28}{median(seconds):10.1f}{ratio:11.2f}")
    print("BYTES DIFFER" if apart else "the same bytes in all")
    sys.exit(1 if apart else 0)


def timed(words: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of an evaluation, its workers among it."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-m", "ibrobust.evaluate", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, cpu


if __name__ == "__main__":
    main()
