"""`python -m ibrobust.information`: runs, or models with a latent, in; what they keep of their input, out."""

import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from functools import partial
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from ibrobust.commands.command_line import (
    Parser,
    count,
    doing,
    note_part_of_zoo,
    parsed,
    seed,
    torch_device,
    whole_number,
)
from ibrobust.commands.job_flags import add_job_flags, place_of, share_cores
from ibrobust.commands.progress_bar import shown_progress
from ibrobust.commands.sample_flags import add_sample_flags, drawn_samples
from ibrobust.commands.subject_flags import (
    add_subject_flags,
    chosen_subjects,
    given_data_options,
    require_no_model_flags,
)
from ibrobust.errors import BadInput, RunFailed
from ibrobust.registry import EXTENSION_POINTS

if TYPE_CHECKING:
    import pandas as pd

    from ibrobust.experiments.measurable import Measurable
    from ibrobust.experiments.measuring import MeasuredRun
    from ibrobust.subjects.zoo import Run

TABLE = "information.csv"
_SAMPLES = 10_000
_MORE = 20_000
_MOST_DRAWS = 10_000


def main(arguments: Sequence[str]) -> None:
    options = parsed(_parser, arguments)
    _require_known(options)
    options.selection = drawn_samples(options)
    options.device = torch_device(options.device, options.threads)

    from ibrobust.files import require_writable

    runs, trained = _chosen(options)
    require_writable(options.out)
    _require_enough_samples(runs, options)
    tables: dict[int, pd.DataFrame] = {}
    failed = []
    died = None
    try:
        for index, found in _measured(runs, options):
            if found.refused is not None:
                failed.append(found.run)
                print(f"error: run {found.run}: {found.refused}", file=sys.stderr, flush=True)
                continue
            tables[index], lines = _told(found)
            # Before a word is printed: a terminal that cannot take it costs no result.
            _save(tables, options.out)
            print("\n".join(lines), flush=True)
    except RunFailed as failure:
        died = failure
    _finish(tables, runs, trained, options, kept=died is not None)
    if died:
        raise died
    if failed:
        raise RunFailed(f"{len(failed)} of {len(runs)} runs could not be measured: {', '.join(failed)}")


def _chosen(options: Namespace) -> "tuple[list[Measurable], list[Run]]":
    """What is measured, and the runs among it."""
    from ibrobust.datasets import DataOptions, read_dataset
    from ibrobust.experiments.measurable import measurable_model, measurable_run
    from ibrobust.subjects.zoo import CARD, find_runs

    about = {"data_dir": options.data_dir, "download": options.download}
    if options.model:
        subjects = [subject for subject, _ in chosen_subjects(options, options.out, gradients=False)]
        with doing(f"loading the data {options.data}"):
            data = read_dataset(options.data, DataOptions(**given_data_options(options)), **about)
        return [measurable_model(subject, data) for subject in subjects], []
    require_no_model_flags(options)
    own = options.runs.is_dir() and any(options.runs.glob(f"*/{CARD}"))
    places = options.run or [options.runs if own else Path("zoo")]
    runs = find_runs(places)
    note_part_of_zoo(places)
    return [measurable_run(run, **about) for run in runs], runs


def _measured(runs: "list[Measurable]", options: Namespace) -> "Iterator[tuple[int, MeasuredRun]]":
    from ibrobust.experiments.measuring import MeasuringSettings, measure_runs

    settings = MeasuringSettings(
        options.view, options.draws, options.samples, tuple(options.k), options.distance, options.repeats,
        options.seed, options.retrain_decoder, options.more, options.selection,
    )  # fmt: skip
    place = place_of(options, begin=partial(share_cores, options))
    with shown_progress() as watch:
        yield from measure_runs(runs, settings, device=options.device, out=options.out, place=place, watch=watch)


def _finish(
    tables: "dict[int, pd.DataFrame]", runs: "list[Measurable]", trained: "list[Run]", options: Namespace, *, kept: bool
) -> None:
    """The table is whole: finished measurements are needed no more, unless some are still to be done."""
    from ibrobust.experiments.measuring import forget

    if not kept:
        forget(runs, options.out)
    if tables:
        paths = _figures(_joined(tables), trained, options.out) if options.figures else []
        print("\n".join(map(str, [options.out / TABLE, *paths])))


def _require_known(options: Namespace) -> None:
    """Raises:
    BadInput: a distance or a view of the noise that does not exist.
    """
    if options.distance not in (distances := EXTENSION_POINTS["distance"]):
        raise BadInput(f"--distance {options.distance!r}: choose from {distances.choices}")
    kind, _, draws = (options.view or "mean").partition(":")
    averaged = kind == "averaged" and draws.isdecimal() and 1 <= int(draws[:6]) <= _MOST_DRAWS
    if not averaged and options.view not in (None, "mean", "fresh"):
        raise BadInput(f"--view {options.view!r}: choose from mean, fresh, averaged:N with N from 1 to {_MOST_DRAWS}")


def _require_enough_samples(runs: "list[Measurable]", options: Namespace) -> None:
    """Raises:
    BadInput: a part of the data has no k-th neighbour. Data that cannot be loaded is that run's failure, later.
    """
    for found in runs:
        try:
            splits = found.splits()
        except BadInput:
            continue
        for split, samples in splits.items():
            count = min(options.samples, len(samples))
            if max(options.k) >= count > 0:
                raise BadInput(
                    f"--k {max(options.k)}: run {found.name} has {count} {split} samples (--samples "
                    f"{options.samples}); choose k from 1 to {count - 1}"
                )


def _told(found: "MeasuredRun") -> "tuple[pd.DataFrame, list[str]]":
    """The rows of a run, and a line for each of its measurements and what is odd about them."""
    import pandas as pd

    from ibrobust.entropies.table import information_rows

    tables, lines = [], []
    for split, notes in found.notes.items():
        lines += [f"warning: {found.run}: {sentence}" for sentence in notes]
        parts = {view: measurement for (of, view), measurement in found.parts.items() if of == split}
        if not parts:
            lines.append(f"{found.run} · {split}: no samples")
        for view, measurement in parts.items():
            tables.append(information_rows(measurement, run=found.run, split=split, view=view))
            lines.append(f"{found.run} · {split} · {view}: {_summary(tables[-1], measurement.error)}")
            lines += [f"  warning: {sentence}" for sentence in measurement.warnings]
    return pd.concat(tables, ignore_index=True), lines


def _save(tables: "dict[int, pd.DataFrame]", out: Path) -> None:
    from ibrobust.entropies.table import information_text
    from ibrobust.tables import save_table

    save_table(information_text(_joined(tables)), out / TABLE)


def _joined(tables: "dict[int, pd.DataFrame]") -> "pd.DataFrame":
    """In the order of the runs, whichever was measured first."""
    import pandas as pd

    return pd.concat([tables[index] for index in sorted(tables)], ignore_index=True)


def _summary(table: "pd.DataFrame", error: float) -> str:
    from ibrobust.entropies.table import wide

    cross_entropy = table.loc[table["quantity"] == "decoder_cross_entropy", "nats"].iloc[0]
    words = [f"error {error:.4f}", f"Hθ[Y|Z] {cross_entropy:.4f}"]
    for quantity, symbol in (("encoding_entropy", "H[Z]"), ("preserved_information", "I[X;Z]")):
        if quantity in set(table["quantity"]):
            values = wide(table, [quantity], estimator="knn", keys=["run"]).iloc[0]
            best, low, high = (values[f"{quantity}{end}"] for end in ("", "_low", "_high"))
            words.append(f"{symbol} {_interval(best, low, high)}")
    return ", ".join(words)


def _interval(best: float, low: float, high: float) -> str:
    """The calibrated number between its bounds; bounds alone where they are too far apart for a number."""
    number = "" if isnan(best) else f"{best:.2f} "
    return f"{number}in [{low:.2f}, {high:.2f}]"


def _figures(table: "pd.DataFrame", runs: "list[Run]", out: Path) -> list[Path]:
    import pandas as pd

    from ibrobust.entropies.table import read_information
    from ibrobust.entropies.trajectory import TRAJECTORY
    from ibrobust.figures.panels import (
        diagram_figure,
        entropies_figure,
        gamma_figure,
        plane_figure,
        saturation_figure,
    )
    from ibrobust.figures.style import save_figure

    recipes = pd.DataFrame([{"run": r.card.run, "reg": r.card.recipe.reg, "gamma": r.card.recipe.gamma} for r in runs])
    labelled = table.merge(recipes, on="run") if runs else table
    figures = {"saturation": saturation_figure(labelled), "quantities": gamma_figure(labelled)} if runs else {}
    tracked = [read_information(r.folder / TRAJECTORY) for r in runs if (r.folder / TRAJECTORY).is_file()]
    if tracked:
        trajectories = pd.concat(tracked, ignore_index=True).merge(recipes, on="run")
        figures |= {"information-plane": plane_figure(trajectories), "entropies": entropies_figure(trajectories)}
    for name in table["run"].unique():
        figures[f"{name}/diagram"] = diagram_figure(table[table["run"] == name])
    return [path for name, figure in figures.items() for path in save_figure(figure, out / name)]


def _parser() -> Parser:
    parser = Parser(
        "information",
        "Measure what trained runs, or models with a latent, keep of their input, each number with its error.",
    )
    add_subject_flags(parser)
    parser.add_argument(
        "--view", "--noise", default=None, help="one view: mean, fresh or averaged:N; all of a model by default"
    )
    parser.add_argument(
        "--draws", type=whole_number(1, _MOST_DRAWS), default=12, help="samples of the noise in the averaged view"
    )
    add_sample_flags(parser, "first N of each split; costs grow as N²", default=_SAMPLES)
    parser.add_argument(
        "--more",
        type=whole_number(0, 10**6),
        default=_MORE,
        help="samples after those whose latents tighten the bounds",
    )
    parser.add_argument("--k", type=count, nargs="+", default=[3], help="neighbours of the entropy estimates")
    parser.add_argument(
        "--distance", default="l2", help=f"norm of the entropy estimates: {EXTENSION_POINTS['distance'].choices}"
    )
    parser.add_argument(
        "--retrain-decoder", action="store_true", help="bound H[Y|Z] by a decoder trained on each split"
    )
    parser.add_argument(
        "--repeats",
        type=whole_number(1, 1000),
        default=4,
        help="sets of samples of a known law that each bias is measured on",
    )
    parser.add_argument("--figures", action="store_true", help="draw information planes, curves and I-diagrams too")
    parser.add_argument("--seed", type=seed, default=0, help="seed of the latent's noise and of the Gaussian samples")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder to write to")
    add_job_flags(parser)
    return parser
