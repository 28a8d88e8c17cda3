"""`python -m ibrobust.submit`: a run's results, images and audit as one file for somebody else's leaderboard."""

from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from pathlib import Path

from ibrobust.commands.command_line import Parser, parsed
from ibrobust.errors import BadInput
from ibrobust.files import checked_name, in_zoo, released_zoo


def main(arguments: Sequence[str]) -> None:
    options = parsed(_parser, arguments)

    from ibrobust.result_folders import require_results_folders, results_folder
    from ibrobust.robustness.storage import card_in
    from ibrobust.submissions.making import About, results_of, write_submission

    given = in_zoo(options.run)
    if given.suffix == ".parquet":
        paths, run = [given], card_in(given).run
    else:
        run = checked_name(given.name, "run")
        require_results_folders([options.results])
        paths = results_of(run, results_folder(options.results))
    run_folder = given if _is_run(given) else _found(run, options.runs)
    if options.weights and not (run_folder and (run_folder / "weights.safetensors").is_file()):
        raise BadInput(f"--weights: no weights of {run} in {', '.join(map(str, options.runs))} or the released zoo")
    out = options.out or Path(f"{run}.zip")
    about = About(options.licence, options.reference, options.contact)
    found = write_submission(paths, out, about, run_folder=run_folder, weights=options.weights)
    lines = [*found.lines, *(f"missing, and needed: {text}" for text in found.needed)]
    lines += [f"missing: {text}" for text in found.wanted]
    print("\n".join([*lines, f"{out}: {out.stat().st_size / 1e6:.1f} MB"]))


def _is_run(folder: Path) -> bool:
    return (folder / "card.json").is_file()


def _found(run: str, places: Sequence[Path]) -> Path | None:
    """The run's folder; None where there is none."""
    for place in [*map(in_zoo, places), released_zoo() / "runs", released_zoo() / "mnist"]:
        if _is_run(place / run):
            return place / run
    return None


def _checked_by(name: str) -> Callable[[str], str]:
    """An argument's type: what a manifest takes under that name."""

    def value(text: str) -> str:
        from ibrobust.submissions import manifest

        try:
            checked: str = getattr(manifest, f"{name}_text")(text)
        except BadInput as error:
            raise ArgumentTypeError(str(error).partition(": ")[2]) from error
        return checked

    return value


def _parser() -> Parser:
    parser = Parser("submit", "Make one file of a run's results, images and audit, and say what is missing.")
    parser.add_argument(
        "run", type=Path, help="the run: its name, its folder, or one results file; of a model of your own its name"
    )
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of results; zoo for the released ones"
    )
    parser.add_argument("--runs", type=Path, nargs="+", default=[Path("runs")], help="folders of the runs")
    parser.add_argument(
        "--licence", type=_checked_by("licence"), default=None, help="SPDX identifier of the model's licence, as MIT"
    )
    parser.add_argument(
        "--reference", type=_checked_by("reference"), default=None, metavar="URL", help="where the model can be found"
    )
    parser.add_argument(
        "--contact", type=_checked_by("contact"), default=None, help="whom to ask; everybody can read it"
    )
    parser.add_argument("--weights", action="store_true", help="put the run's weights into the file, too")
    parser.add_argument("--out", type=Path, default=None, metavar="FILE", help="file to write; RUN.zip by default")
    return parser
