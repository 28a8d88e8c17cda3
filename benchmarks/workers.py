"""How long one evaluation takes with one worker of two threads, with two of one, and with two on Ray; and what keeping
images costs.

    python -m benchmarks.workers zoo/mnist/mnist-lenet-none-adv0.2-g0-s0-85d0d63f --samples 5000 --rounds 3

Each round runs every case once, one after the other, so that another hour of a busy machine is another hour for all.
In pieces of some minutes, each of one case and one round, whose rows are kept in a file, together with all rows there:

    python -m benchmarks.workers RUN --table workers.csv --first-round 1 --rounds 1 --cases ray
"""

import argparse
import hashlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from benchmarks.pieces import kept

CASES = {
    "threads": ["--workers", "1", "--threads", "2"],
    "workers": ["--workers", "2", "--threads", "1"],
    "ray": ["--engine", "ray", "--workers", "2", "--threads", "1"],
    "images": ["--workers", "1", "--threads", "2", "--keep-images"],
}
SAID = {
    "threads": "1 worker, 2 threads", "workers": "2 workers, 1 thread", "ray": "Ray, 2 workers, 1 thread",
    "images": "1 worker, 2 threads, images",
}  # fmt: skip
KEYS = ["run", "samples", "protocol", "eps", "round", "case"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Wall and CPU time of an evaluation by workers.")
    parser.add_argument("run")
    parser.add_argument("--samples", default="5000")
    parser.add_argument("--protocol", default="strict")
    parser.add_argument("--eps", default="0.1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--first-round", type=int, default=1)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--table", type=Path, help="CSV file that keeps the rows")
    options = parser.parse_args()
    words = [options.run, "--samples", options.samples, "--protocol", options.protocol, "--eps", options.eps]
    asked = {key: str(getattr(options, key)) for key in KEYS[:4]}
    print("round  case                          wall s   CPU s  load", flush=True)
    rows = []
    for turn in range(options.first_round, options.first_round + options.rounds):
        for case in options.cases:
            with tempfile.TemporaryDirectory() as folder:
                wall, cpu = timed([*words, *CASES[case], "--out", folder])
                (results,) = Path(folder).glob("*/*.parquet")
                digest = hashlib.sha256(results.read_bytes()).hexdigest()
            said = "       -" if case == "ray" else f"{cpu:8.1f}"  # Ray's processes are nobody's children.
            print(f"{turn:<7}{SAID[case]:<28}{wall:8.1f}{said}{os.getloadavg()[0]:6.1f}", flush=True)
            row = {**asked, "round": turn, "case": case, "wall": round(wall, 2), "cpu": round(cpu, 2), "sha256": digest}
            rows.append(row)
            table = kept(options.table, row, KEYS)
    found = table if options.table else pd.DataFrame(rows)
    for key, value in asked.items():
        found = found[found[key].astype(str) == value]
    middle = found.groupby("case")["wall"].median()
    print(f"\n{'case':<28}  rounds  median s  faster than the first")
    for case in (case for case in CASES if case in middle):
        ratio = f"{middle['threads'] / middle[case]:.2f}" if "threads" in middle else "-"
        print(f"{SAID[case]:<28}{(found['case'] == case).sum():8}{middle[case]:10.1f}{ratio:>11}")
    apart = found["sha256"].nunique() > 1
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
