"""How long one evaluation takes with one worker of two threads and with two of one, and what keeping images costs.

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

CASES = {
    "1 worker, 2 threads": ["--workers", "1", "--threads", "2"],
    "2 workers, 1 thread": ["--workers", "2", "--threads", "1"],
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
    for turn in range(options.rounds):
        contents = set()
        for case, flags in CASES.items():
            with tempfile.TemporaryDirectory() as folder:
                wall, cpu = timed([*words, *flags, "--out", folder])
                (results,) = Path(folder).glob("*/*.parquet")
                contents.add(results.read_bytes())
            print(f"{turn + 1:<7}{case:<28}{wall:8.1f}{cpu:8.1f}{os.getloadavg()[0]:6.1f}", flush=True)
        print("       the same bytes in all" if len(contents) == 1 else "       BYTES DIFFER", flush=True)


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
