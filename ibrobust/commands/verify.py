"""`python -m ibrobust.verify`: do the stored images prove what the results say? No attack is run."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ibrobust.commands.command_line import Parser, parsed, torch_device
from ibrobust.commands.model_flags import (
    MODEL,
    add_model_option_flags,
    chosen_options,
    require_no_options,
    require_same_classifier,
)
from ibrobust.errors import BadInput, RunFailed
from ibrobust.files import in_zoo, released_zoo, rest_of_zoo

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from ibrobust.robustness.card import ResultCard
    from ibrobust.robustness.evidence import Evidence


def main(arguments: Sequence[str]) -> None:
    options = parsed(_parser, arguments)
    options.device = torch_device(options.device, options.threads)

    from ibrobust.experiments.verification import verified
    from ibrobust.robustness.evidence import evidence_path, load_evidence

    files = results_with_images(options.results)
    failed = []
    for path in files:
        evidence, card = load_evidence(evidence_path(path))
        model, weights_sha256 = model_of(card, image_shape(evidence), options)
        outcome = verified(path, model.to(options.device), weights_sha256, _curves(path, card))
        print(outcome, flush=True)
        failed += [outcome.run] if outcome.faults else []
    if failed:
        raise RunFailed(f"{len(failed)} of {len(files)} results are not proven: {', '.join(failed)}")


def results_with_images(places: Sequence[Path]) -> list[Path]:
    """The results files that are, or lie below, the given places and have images beside them: those given, then those
    in folders.

    Raises:
        BadInput: there are none, a file that is given has no images, or a folder is none of results.
    """
    from ibrobust.result_folders import IMAGES, require_results_folders, result_files, results_folder
    from ibrobust.robustness.evidence import evidence_path

    files = [place for place in places if results_folder(place).is_file()]
    folders = [place for place in places if place not in files]
    require_results_folders(folders)
    for file in files:
        if file.parent.name == IMAGES:
            raise BadInput(f"{file} holds adversarial images; the results are {file.parent.parent / file.name}")
        if not evidence_path(in_zoo(file)).is_file():
            raise BadInput(f"{file}: no images of it in {evidence_path(file).parent}; evaluate with --keep-images")
    below = [path for folder in folders for path in result_files(results_folder(folder))]
    found = [*map(in_zoo, files), *(path for path in below if evidence_path(path).is_file())]
    if not found:
        named = ", ".join(str(place) for place in places)
        raise BadInput(f"no results with images in {named}; evaluate with --keep-images")
    return found


def image_shape(evidence: "Evidence") -> tuple[int, int, int]:
    """(C, H, W)."""
    channels, height, width = evidence.images.shape[1:]
    return channels, height, width


def model_of(card: "ResultCard", shape: tuple[int, int, int], options: Namespace) -> "tuple[nn.Module, str | None]":
    """The model that a result is about, and the digest of its weights.

    Args:
        shape: (C, H, W) of the images.
    """
    from ibrobust.subjects.formats import loaded
    from ibrobust.subjects.zoo import CARD, load_run

    if options.model:
        class_names = (card.data.classes if card.data else None) or ()
        found = loaded(options.model, chosen_options(options), shape=shape, class_names=class_names)
        require_same_classifier(card, found.told)
        return found.module, found.digests["weights_sha256"]
    require_no_options(options)
    folders = [*options.runs, released_zoo() / "runs", released_zoo() / "mnist"]
    for folder in (place / card.run for place in folders):
        if (folder / CARD).is_file():
            run = load_run(folder)
            return run.model(), run.card.weights_sha256
    places = ", ".join(str(folder) for folder in options.runs)
    raise BadInput(
        f"{card.run}: no such run in {places} or the released zoo; name its folder with --runs, or --model"
        f"{rest_of_zoo([Path('zoo')])}"
    )


def _curves(path: Path, card: "ResultCard") -> "pd.DataFrame | None":
    """What `curves.csv` of the same folder says of this result."""
    import pandas as pd

    file = path.parent.parent / "curves.csv"
    if not file.is_file():
        return None
    table = pd.read_csv(file)
    keys = {"run": card.run, **card.settings.told}
    rows = table[(table[[*keys]] == pd.Series(keys)).all(axis=1)]
    return rows if len(rows) else None


def add_model_flags(parser: Parser) -> None:
    """Which results, and where their models are: what `results_with_images` and `model_of` read."""
    parser.add_argument("results", type=Path, nargs="+", help="results files, or folders of them; zoo for the released")
    add_place_flags(parser)


def add_place_flags(parser: Parser) -> None:
    """Where a result's model is, and the device that it answers on: what `model_of` reads."""
    parser.add_argument("--runs", type=Path, nargs="+", default=[Path("runs")], help="folders of the runs")
    parser.add_argument(
        "--model", default=None, metavar=MODEL, help="the model, if it is no run, as evaluate takes it; its code runs"
    )
    add_model_option_flags(parser)
    parser.add_argument("--download", action="store_true", help="fetch weights of --model that are not on disk")
    parser.add_device_flags(default_threads=None)


def _parser() -> Parser:
    parser = Parser("verify", "Recompute from images and models what results say; exit code 1 where a claim fails.")
    add_model_flags(parser)
    return parser
