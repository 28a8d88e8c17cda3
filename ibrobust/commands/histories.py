"""`python -m ibrobust.histories`: how training went, run beside run, as one table and the pictures it allows."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ibrobust.commands.command_line import Parser, parsed
from ibrobust.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ibrobust.subjects.zoo import Run

_FIELDS = ["data", "model", "reg", "gamma", "latent", "likelihood", "latent_samples", "train_samples", "seed"]


def main(arguments: Sequence[str]) -> None:
    options = parsed(_parser, arguments)

    from ibrobust.figures.style import save_figure
    from ibrobust.subjects.zoo import find_runs
    from ibrobust.tables import save_table

    table = histories(find_runs(options.runs))
    out: Path = options.out
    save_table(table, out / "histories.csv")
    print(f"{out / 'histories.csv'}  {table['run'].nunique()} runs")
    for name, figure in figures(table).items():
        for path in save_figure(figure, out / name):
            print(path)
    for line in summary_lines(table):
        print(line)


def histories(runs: list["Run"]) -> "pd.DataFrame":
    """A row per run and epoch: the run's recipe, its history, and `test_…` and `train_…`, the metrics of its card.

    Raises:
        BadInput: a run has no history.
    """
    import pandas as pd

    from ibrobust.subjects.zoo import HISTORY
    from ibrobust.tables import read_table

    parts = []
    for one in runs:
        path = one.folder / HISTORY
        if not path.is_file():
            raise BadInput(f"{str(one.folder)!r} has no {HISTORY}")
        fields = {"run": one.card.run, "noise": one.card.noise, **one.card.recipe.model_dump(include=set(_FIELDS))}
        metrics = {f"{split}_{name}": v for split, values in one.card.metrics.items() for name, v in values.items()}
        history = read_table(path, columns=["epoch"], numbers=None).rename(columns={"likelihood": "likelihood_term"})
        parts.append(history.assign(**{**metrics, **fields}))
    table = pd.concat(parts, ignore_index=True)
    first = ["run", "noise", *_FIELDS]
    return table[first + [column for column in table.columns if column not in first]]


def figures(table: "pd.DataFrame") -> dict[str, "Figure"]:
    """The pictures that the table has the columns and the runs for, by name."""
    from ibrobust.figures.histories import cross_entropy_figure, multiplier_figure, pathology_figure

    found: dict[str, Figure] = {}
    if len(rescaled := _rescaled(table)):
        found["pathology"] = pathology_figure(rescaled)
    compared = _compared(table)
    if len(compared):
        found["cross_entropies"] = cross_entropy_figure(compared)
    multipliers = _multipliers(table)
    if {"dvib", "l2"} <= set(multipliers["reg"]):
        found["multipliers"] = multiplier_figure(multipliers)
    return found


def summary_lines(table: "pd.DataFrame") -> list[str]:
    """What the pictures show, in numbers: medians and quartiles over seeds, and the shift between DVIB and l2."""
    from ibrobust.figures.histories import multiplier_shift

    lines = _pathology_lines(table)
    for likelihood, rows in _last(_compared(table)).groupby("likelihood"):
        terms = [
            c
            for c in ("error", "decoder_uncertainty", "decoder_cross_entropy", "prediction_cross_entropy")
            if c in rows
        ]
        quartiles = rows[terms].quantile([0.25, 0.5, 0.75])
        shown = (
            f"{term} {quartiles[term][0.5]:.4g} [{quartiles[term][0.25]:.4g}, {quartiles[term][0.75]:.4g}]"
            for term in terms
        )
        lines.append(f"trained with {likelihood}, {len(rows)} seeds: {', '.join(shown)}")
    multipliers = _multipliers(table)
    compared = [] if "l2" not in set(multipliers["reg"]) else sorted(set(multipliers["reg"]))
    for reg in (reg for reg in compared if reg.startswith("dvib")):
        for column in ("test_error", "test_decoder_cross_entropy"):
            shift = multiplier_shift(multipliers, column, reg, "l2")
            lines.append(f"{column}: {reg} at γ·{shift:.2f} is closest to l2 at γ")
    return lines


def _pathology_lines(table: "pd.DataFrame") -> list[str]:
    """The entropy between its bounds and the error at the last epoch of runs whose latent was rescaled."""
    if "rescaled_error" in table and "encoding_entropy_raw" not in table:
        return [
            "rescaled latents: no figure, for an earlier version kept raw entropies without bounds; train them again"
        ]
    return [
        f"noise {row.noise}, epoch {row.epoch}: H[Z] {row.encoding_entropy:.4g} in [{row.encoding_entropy_low:.4g}, "
        f"{row.encoding_entropy_high:.4g}], error {row.rescaled_error:.4g}"
        for row in _last(_rescaled(table)).itertuples()
    ]


def _rescaled(table: "pd.DataFrame") -> "pd.DataFrame":
    """Runs whose latent was rescaled, with bounds on its entropy."""
    columns = {"rescaled_error", "encoding_entropy_raw"}
    return table.dropna(subset=list(columns)) if columns <= set(table.columns) else table.iloc[:0]


def _multipliers(table: "pd.DataFrame") -> "pd.DataFrame":
    """The last epoch of runs with a regulariser, which is named with its noise where that is not its own."""
    from ibrobust.learning.objectives import REGULARIZERS

    rows = _last(table[table["gamma"] > 0])
    own = rows["reg"].map(lambda reg: REGULARIZERS[reg].noise)
    return rows.assign(reg=rows["reg"].where(rows["noise"] == own, rows["reg"] + ", " + rows["noise"] + " noise"))


def _compared(table: "pd.DataFrame") -> "pd.DataFrame":
    """Runs whose history holds both cross-entropies, where more than one likelihood term was trained with."""
    if "prediction_cross_entropy" not in table:
        return table.iloc[:0]
    rows = table[table["prediction_cross_entropy"].notna()]
    return rows if rows["likelihood"].nunique() > 1 else rows.iloc[:0]


def _last(table: "pd.DataFrame") -> "pd.DataFrame":
    return table.sort_values("epoch").groupby("run", as_index=False).last()


def _parser() -> Parser:
    parser = Parser("histories", "How training went: one table of all epochs, and the pictures it allows.")
    parser.add_argument("runs", nargs="+", type=Path, help="runs, or folders of runs")
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder for histories.csv and the pictures")
    return parser
