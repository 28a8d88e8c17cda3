"""`python -m ibrobust.compare`: two results of the same samples in, one table of their differences out."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ibrobust.commands.command_line import Parser, parsed, seed, table_text, whole_number
from ibrobust.commands.radii_flag import result_at
from ibrobust.errors import BadInput

if TYPE_CHECKING:
    from ibrobust.robustness.storage import Results

_NOTE = """Share of samples that survive all attacks; only A, only B: samples that only that model survives on.
low, high: {level:g} % interval of the paired bootstrap. p: McNemar's test, mid-p beside the exact one, for each radius
by itself (not corrected for the number of radii); on average: sign-flip permutation test."""


def main(arguments: Sequence[str]) -> None:
    options = parsed(_parser, arguments)
    if not 0 < options.level < 1:
        raise BadInput(f"--level {options.level}: above 0 and below 1")

    from ibrobust.files import in_zoo
    from ibrobust.robustness.storage import load_results

    a, b = load_results(in_zoo(options.a)), load_results(in_zoo(options.b))
    if options.eps is not None:
        a, b = result_at(a, options.eps, options.a), result_at(b, options.eps, options.b)
    print(comparison_text(a, b, level=options.level, resamples=options.resamples, seed=options.seed))


def comparison_text(a: "Results", b: "Results", *, level: float = 0.95, resamples: int = 10_000, seed: int = 0) -> str:
    """Robust accuracy by radius and on average, differences with intervals, discordant samples and p values."""
    import pandas as pd

    from ibrobust.robustness.statistics import compared

    found = compared(a, b, level=level, resamples=resamples, seed=seed)
    columns = {
        "radius": [f"{radius:g}" for radius in a.card.settings.radii] + ["average"],
        "A": [*found.a_E, found.a_E.mean()],
        "B": [*found.b_E, found.b_E.mean()],
        "A − B": [*found.difference_E.value, float(found.average.value)],
        "low": [*found.difference_E.low, float(found.average.low)],
        "high": [*found.difference_E.high, float(found.average.high)],
        "only A": [*map(str, found.only_a_E), ""],
        "only B": [*map(str, found.only_b_E), ""],
        "p": [*found.p_E.mid, found.average_p],
        "p exact": [*(f"{p:.4f}" for p in found.p_E.exact), ""],
    }
    formats = dict.fromkeys(("A", "B", "p"), "{:.4f}".format) | dict.fromkeys(
        ("A − B", "low", "high"), "{:+.4f}".format
    )
    lines = [f"{name}  {_described(results)}" for name, results in (("A", a), ("B", b))]
    table = table_text(pd.DataFrame(columns), formatters=formats)
    return "\n".join([*lines, "", table, "", _NOTE.format(level=100 * level)])


def _described(results: "Results") -> str:
    card, settings = results.card, results.card.settings
    how = f"{settings.label}, {settings.norm}, view {settings.view}, backend {settings.backend}"
    return f"{card.run} on {card.dataset}, n {len(results.sample_N)}, {how}"


def _parser() -> Parser:
    parser = Parser(
        "compare", "Is one model more robust than another? Paired tests on the samples both were attacked on."
    )
    parser.add_argument("a", type=Path, help="results file (.parquet) of model A")
    parser.add_argument("b", type=Path, help="results file of model B, same samples, protocol and radii")
    parser.add_argument(
        "--eps", default=None, help="radii that both were attacked at, as 0.05,0.1; all of them by default"
    )
    parser.add_argument("--level", type=float, default=0.95, help="level of the intervals")
    parser.add_argument(
        "--resamples", type=whole_number(1, 1_000_000), default=10_000, help="resamples of the paired bootstrap"
    )
    parser.add_argument("--seed", type=seed, default=0, help="seed of the resampling")
    return parser
