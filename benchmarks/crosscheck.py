"""Do we and the libraries count the same samples as robust? `python -m benchmarks.crosscheck`

Prints, for every backend, attack and radius, how many samples are robust and which side alone broke the others.
Exit code 1 if more samples survive our attacks than survive a library's, by more than 0.4 % of them at any radius.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial

import pandas as pd

from benchmarks.speed import OF_THE_PAPER
from benchmarks.victims import benchmark_data, trained_lenet
from ibrobust.backends import BACKENDS, peer_attacks, peer_breaking_radii
from ibrobust.backends.comparison import TOLERANCE, compared, too_weak
from ibrobust.errors import BadInput, RunFailed
from ibrobust.robustness.breaking_radii import radii_that_break
from ibrobust.robustness.question import make_question
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.samples import usable_samples
from ibrobust.robustness.settings import make_settings


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    options = _options(arguments)
    try:
        data = benchmark_data(options.data)
        if not 0 < options.samples <= len(data.test):
            raise BadInput(f"--samples {options.samples}: {data.name} has {len(data.test)} test samples")
        given = {key: getattr(options, key) for key in ("eps", "protocol", "norm", "seed")}
        settings = make_settings(given)
        for backend in options.backends:
            peer_attacks(backend, settings.attack_names, options.norm)
        model = trained_lenet(data)
        test = data.test[: options.samples]
        samples = usable_samples(test.x, test.y)
        ours = _timed("native", lambda: radii_that_break(make_question(model, samples, settings)))
        theirs = {
            backend: _timed(
                backend, partial(peer_breaking_radii, model, samples, make_settings({**given, "backend": backend}))
            )
            for backend in options.backends
        }
    except (BadInput, RunFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{data.name}, {len(test)} samples, protocol {options.protocol}, {options.norm}\n")
    for backend, results in theirs.items():
        _print_comparison(backend, compared(ours, results))
    weaker = too_weak(ours, theirs)
    if len(weaker):
        print(f"native leaves more samples standing than the strongest library (by over {TOLERANCE:.1%}):")
        print(weaker.to_string(index=False))
        return 1
    print(f"native leaves no more samples standing than any library at any radius (tolerance {TOLERANCE:.1%})")
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crosscheck", description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="a data set; MNIST where $IBROBUST_DATA has it, else digits")
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--eps", default="0:0.1")
    parser.add_argument("--protocol", default="paper")
    parser.add_argument("--norm", default="linf")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backends", nargs="+", choices=sorted(BACKENDS), default=OF_THE_PAPER)
    return parser.parse_args(arguments)


def _timed(name: str, evaluation: Callable[[], BreakingRadii]) -> BreakingRadii:
    start = time.perf_counter()
    results = evaluation()
    print(f"{name}: {time.perf_counter() - start:.1f} s", file=sys.stderr)
    return results


def _print_comparison(backend: str, table: pd.DataFrame) -> None:
    print(f"native and {backend}: robust samples (broken by native alone, by {backend} alone)")
    cells = table.assign(
        cell=[
            f"{row.ours} {row.theirs} ({row.only_to_ours}, {row.only_to_theirs})"
            for row in table.itertuples(index=False)
        ]
    )
    wide = cells.pivot(index="eps", columns="attack", values="cell")[list(dict.fromkeys(table["attack"]))]
    print(wide.to_string())
    print(f"agreement {table['agree'].mean():.2%}, lowest {table['agree'].min():.2%}\n")


if __name__ == "__main__":
    sys.exit(main())
