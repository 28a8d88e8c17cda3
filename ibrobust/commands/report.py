"""`python -m ibrobust.report`: results on disk in; leaderboard, curves and figures out."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ibrobust.commands.command_line import Parser, count, doing, note_part_of_zoo, parsed, table_text
from ibrobust.commands.gates import add_floor_flag, require_floors
from ibrobust.commands.radii_flag import entries_at
from ibrobust.commands.stored_results import require_places, stored_corruptions, stored_entries
from ibrobust.commands.table_formats import FORMATS, save_as
from ibrobust.errors import BadInput
from ibrobust.files import in_zoo, rest_of_zoo
from ibrobust.robustness.settings import TOLD

if TYPE_CHECKING:
    import pandas as pd

    from ibrobust.page.entries import Entry
    from ibrobust.robustness.certified import Certain
    from ibrobust.robustness.corruption_results import CorruptionResults
    from ibrobust.robustness.storage import Results

_SETTINGS = tuple(key for key in TOLD if key != "protocol")
"""Printed where rows differ in them."""

_NOT_PRINTED = {
    "dataset", "model", "reg", "gamma", "latent", "seed", "eps_max", "strongest_attack", "encoding_entropy",
    "encoding_entropy_low", "encoding_entropy_high", "decoder_cross_entropy", "zero_grad",
}  # fmt: skip

_SHORT = {
    "rank_low": "from",
    "rank_high": "to",
    "robust_avg_error": "±",
    "preserved_information": "I[X;Z]",
    "preserved_information_low": "I[X;Z]_low",
    "preserved_information_high": "I[X;Z]_high",
}


def main(arguments: Sequence[str]) -> None:
    options = parsed(_parser, arguments)
    if missing := [str(folder) for folder in options.runs or () if not in_zoo(folder).is_dir()]:
        raise BadInput(f"--runs {missing[0]!r} is no folder")

    from ibrobust.submissions.entries import result_folders

    with result_folders(options.results) as places:
        _report(places, options)


def _report(places: Sequence[Path], options: Namespace) -> None:
    """The report on the results in these folders."""
    require_places(places)
    entries = [
        entry
        for entry in stored_entries(places)
        if options.protocol in (None, entry.results.card.settings.label)
        and options.data in (None, entry.results.card.dataset)
    ]
    corrupted = [
        result
        for result in stored_corruptions(places)
        if options.protocol in (None, result.card.settings.label) and options.data in (None, result.card.dataset)
    ]
    if not entries and not corrupted:
        wanted = [f"--{name} {value}" for name in ("protocol", "data") if (value := getattr(options, name)) is not None]
        folders = ", ".join(str(folder) for folder in options.results)
        raise BadInput(
            f"no results in {folders}{' with ' + ' '.join(wanted) if wanted else '; run ibrobust.evaluate first'}"
            f"{rest_of_zoo(options.results)}"
        )
    note_part_of_zoo(options.results)
    if options.eps is not None:
        entries = entries_at(entries, options.eps)
    results = [entry.results for entry in entries]
    print_report(
        results,
        options.out,
        certain=[entry.certain for entry in entries],
        formats=options.format,
        corrupted=corrupted,
        reference=options.mce_reference,
        group_by=options.group_by,
    )
    if (options.html or options.single_file) and not entries:
        raise BadInput("--html: the page shows attacks' results, and there are none; leaderboard.csv has the others")
    if options.html or options.single_file:
        print(_page(entries, [place.parent / "runs" for place in places if place not in options.results], options))
    require_floors(options.fail_below, results)


def _page(entries: "Sequence[Entry]", submitted: Sequence[Path], options: Namespace) -> str:
    """Writes the page; its path and its size in words.

    Args:
        submitted: folders of runs that submissions brought along.
    """
    from ibrobust.page.entries import usual_runs
    from ibrobust.page.writing import write_page

    with doing("writing the page"):
        runs = usual_runs() if options.runs is None else [in_zoo(folder) for folder in options.runs]
        runs += submitted
        written = write_page(
            entries,
            options.out,
            runs=runs,
            pictures=options.pictures,
            single_file=options.single_file,
            by_seed=options.group_by == "run",
        )
    size = sum(path.stat().st_size for path in written)
    more = f" and {len(written) - 1} files beside it" if written[1:] else ""
    return f"{written[0]}{more}, {size / 1e6:.1f} MB: open it in a browser; it needs no network"


def print_report(
    results: "Sequence[Results]",
    out: Path,
    *,
    certain: "Certain" = (),
    formats: Sequence[str] = (),
    corrupted: "Sequence[CorruptionResults]" = (),
    reference: Path | None = None,
    group_by: Literal["recipe", "run"] = "run",
) -> None:
    """Write leaderboard.csv, curves.csv and figures to `out`, for models with noise noise.csv, after several attack
    seeds attack_seeds.csv, and under corruptions corruptions.csv; print the leaderboard, what noise alone does, and the
    paths.

    Args:
        certain: for each result the share that is certain at each radius, where it is certified.
        formats: what else the leaderboard is written as, with the columns that are printed: latex, markdown.
        corrupted: results under corruptions, which have rows of their own below.
        reference: the file of errors that mCE divides by.
        group_by: whether leaderboard and figures show all training seeds of a recipe as one, or each run; curves.csv is
            of the runs.

    Runs of a recipe have the two figures of the paper; of each model of your own one shows what every attack leaves.
    """
    from ibrobust.robustness.attack_seeds import seeds_table
    from ibrobust.robustness.corruption_board import (
        corruption_table,
        corruption_text,
        reference_errors,
        with_corruptions,
    )
    from ibrobust.robustness.leaderboard import curve_text, curves, leaderboard, noise_table, printable
    from ibrobust.robustness.readings import Readings
    from ibrobust.robustness.seeds import by_recipe, curves_by_recipe
    from ibrobust.robustness.unlike import baselines_apart
    from ibrobust.tables import save_table

    attacked = (by_recipe if group_by == "recipe" else leaderboard)(results, certain) if results else None
    errors = reference_errors(reference) if reference else None
    board = with_corruptions(attacked, corrupted, errors, group_by=group_by) if corrupted else attacked
    assert board is not None, "there are results of one kind or the other"
    text = printable(board)
    save_table(text, out / "leaderboard.csv")
    paths = [out / "leaderboard.csv"]
    if corrupted:
        save_table(corruption_text(corruption_table(corrupted)), out / "corruptions.csv")
        paths.append(out / "corruptions.csv")
    if attacked is not None:
        all_curves = curves(results, certain)
        save_table(curve_text(all_curves), out / "curves.csv")
        paths.append(out / "curves.csv")
        if (by_seed := seeds_table(results)) is not None:
            save_table(curve_text(by_seed), out / "attack_seeds.csv")
            paths.append(out / "attack_seeds.csv")
    paths += [save_as(kind, _shown(text), out / "leaderboard.csv") for kind in FORMATS if kind in formats]
    noisy = [result for result in results if isinstance(result, Readings)]
    readings = noise_table(noisy) if noisy else None
    if readings is not None:
        save_table(curve_text(readings), out / "noise.csv")
        paths.append(out / "noise.csv")
    if attacked is not None:
        with doing("drawing figures"):
            drawn = curves_by_recipe(results, certain) if group_by == "recipe" else all_curves
            apart = baselines_apart(results)
            words = [apart.get(run.partition(" and ")[0], "") for run in attacked["run"]]
            paths += _figures(attacked.assign(apart=words) if apart else attacked, drawn, out)
    # Everything is written before the first line is printed, which may fail.
    print(table_text(_shown(text), na_rep=""))
    if readings is not None:
        print(f"\nWith noise, at the largest radius; null-attack changes nothing\n{_noise_text(readings)}")
    print("\n" + "\n".join(str(path) for path in paths))


def _figures(board: "pd.DataFrame", all_curves: "pd.DataFrame", out: Path) -> list[Path]:
    from ibrobust.figures.attacks import attacks_figure
    from ibrobust.figures.robustness import information_figure, robustness_figure
    from ibrobust.figures.style import save_figure

    paths = []
    own = board[board["reg"] == ""]
    if len(own):
        paths += save_figure(attacks_figure(own, all_curves), out / "attacks")
    if len(own) < len(board):
        paths += save_figure(robustness_figure(board, all_curves), out / "robustness")
        paths += save_figure(information_figure(board), out / "information")
    return paths


def _shown(text: "pd.DataFrame") -> "pd.DataFrame":
    """The leaderboard's columns that say something."""
    empty = {column for column in text if (text[column] == "").all()}
    alike = {column for column in _SETTINGS if text[column].nunique() == 1}
    unprinted = _NOT_PRINTED | alike | empty
    shown = [
        name
        for name in map(str, text)
        if name not in unprinted and (name == "robust_avg_sd" or not name.endswith("_sd"))
    ]
    return _with_told_numbers(text)[shown].rename(columns=_SHORT)


def _with_told_numbers(text: "pd.DataFrame") -> "pd.DataFrame":
    """The leaderboard without the numbers whose bounds lie too far apart for one, as in the figures and on the page."""
    import pandas as pd

    from ibrobust.entropies.intervals import told

    changed = {}
    for name in {"encoding_entropy", "preserved_information"} & {*text}:  # corruptions' boards tell none
        best, low, high = (pd.to_numeric(text[f"{name}{end}"], errors="coerce") for end in ("", "_low", "_high"))
        changed[name] = text[name].where(told(best, low, high).notna(), "")
    return text.assign(**changed)


def _noise_text(readings: "pd.DataFrame") -> str:
    """A row per result and reading: the share that is right unattacked and under all attacks, with its interval."""
    shown = ["null-attack", "all"]
    last = readings[readings["eps"] == readings.groupby("run")["eps"].transform("max")]
    last = last[last["attack"].isin(shown)]
    shares = [f"{robust:.3f} [{low:.3f}, {high:.3f}]" for robust, low, high in last[["robust", "low", "high"]].values]
    keys = ["run", "protocol", "view", "eps", "reading"]
    table = last.assign(share=shares).pivot(index=keys, columns="attack", values="share")
    return table_text(table[shown].reset_index())


def _parser() -> Parser:
    parser = Parser("report", "Join results into a leaderboard, curves and figures; no model is needed.")
    parser.add_argument(
        "results",
        type=Path,
        nargs="*",
        default=[Path("results")],
        help="folders of results, or of submissions; zoo for the released ones",
    )
    parser.add_argument("--protocol", default=None, help="only results of this protocol; all by default")
    parser.add_argument("--data", default=None, help="only results on this data set; all by default")
    parser.add_argument(
        "--eps", default=None,
        help="show results at these radii alone, as 0.05,0.1, so that those attacked at further ones stand beside "
        "others; what was not attacked at each of them is left out",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("report"), help="folder to write to")
    parser.add_argument(
        "--format", action="append", default=[], choices=["csv", *FORMATS],
        help="write the leaderboard as this, too; may be repeated; leaderboard.csv is always written",
    )  # fmt: skip
    parser.add_argument(
        "--html", action="store_true", help="write a page, too: index.html, and for each result a file that it reads"
    )
    parser.add_argument("--single-file", action="store_true", help="write the page as one file that holds everything")
    parser.add_argument(
        "--runs", type=Path, nargs="+", default=None,
        help="folders of runs whose training the page shows; runs and the released ones by default",
    )  # fmt: skip
    parser.add_argument(
        "--pictures", type=count, default=12,
        help="samples whose adversarial images the page shows, of results that were evaluated with --keep-images",
    )  # fmt: skip
    parser.add_argument(
        "--group-by", choices=["recipe", "run"], default="recipe",
        help="rows of leaderboard, figures and page: recipe makes one of all training seeds of a recipe (mean, "
        "standard deviation and number of seeds); run keeps each",
    )  # fmt: skip
    add_reference_flag(parser)
    add_floor_flag(parser)
    return parser


def add_reference_flag(parser: Parser) -> None:
    """What the mean corruption error is measured against."""
    parser.add_argument(
        "--mce-reference", type=Path, default=None, metavar="FILE",
        help="add the column mce: errors under corruptions relative to these, of stored results (.parquet) or a CSV of "
        "corruption,error",
    )  # fmt: skip
