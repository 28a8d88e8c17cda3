"""`python -m ibrobust.accept`: a submission is checked, without running anything in it, and added to a leaderboard."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ibrobust.commands.command_line import Parser, parsed, torch_device
from ibrobust.commands.verify import add_place_flags, image_shape, model_of
from ibrobust.errors import BadInput, RunFailed

if TYPE_CHECKING:
    from ibrobust.submissions.archive import Submission

ENTRIES = Path("leaderboard") / "entries"


def main(arguments: Sequence[str]) -> None:
    options = parsed(_parser, arguments)
    if options.model and not options.run_model:
        raise BadInput(f"--model {options.model}: no model is loaded without --run-model")

    from ibrobust.submissions.archive import unpacked
    from ibrobust.submissions.checking import checked
    from ibrobust.submissions.entries import add_entry

    for file in options.files:
        with unpacked(file) as submission:
            found = checked(submission)
            run = submission.manifest.run
            print("\n".join([f"{run}, {line}" for line in found.lines]), flush=True)
            if found.needed:
                raise BadInput(f"{file}: it lacks {'; '.join(found.needed)}")
            for text in found.wanted:
                print(f"missing: {text}")
            if options.run_model:
                _prove(submission, options)
        if options.check:
            print(f"{file}: holds", flush=True)
            continue
        place, new = add_entry(file, run, options.entries)
        print(f"{place}: {'added' if new else 'is there already, nothing to do'}", flush=True)


def _prove(submission: "Submission", options: Namespace) -> None:
    """Ask the model itself, as `verify` does.

    Raises:
        BadInput: there is no model, or no image that it could classify.
        RunFailed: it does not answer as the images' rows say.
    """
    from ibrobust.experiments.verification import verified
    from ibrobust.robustness.evidence import evidence_path, load_evidence

    device = torch_device(options.device, options.threads)
    names = [name for name in submission.names("results/", ".parquet") if "/images/" not in name]
    paths = [path for name in names if evidence_path(path := submission.folder / name).is_file()]
    if not paths:
        raise BadInput(f"{submission.called}: there are no images for a model to classify")
    if submission.names("runs/", "weights.safetensors"):
        options = Namespace(**{**vars(options), "runs": [submission.folder / "runs", *options.runs]})
    failed = []
    for path in paths:
        evidence, card = load_evidence(evidence_path(path))
        model, weights_sha256 = model_of(card, image_shape(evidence), options)
        outcome = verified(path, model.to(device), weights_sha256, None)
        print(outcome, flush=True)
        failed += [outcome.protocol] if outcome.faults else []
    if failed:
        raise RunFailed(f"{submission.manifest.run}: the model does not answer so under {', '.join(failed)}")


def _parser() -> Parser:
    parser = Parser(
        "accept", "Check submissions and add each to a folder of entries; no code runs and no model is loaded."
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="submissions, as submit writes them")
    parser.add_argument("--entries", type=Path, default=ENTRIES, help="folder to add to")
    parser.add_argument("--check", action="store_true", help="check alone; add nothing")
    parser.add_argument(
        "--run-model", action="store_true",
        help="load the model (the submission's own weights, --runs or --model) and ask it about every image",
    )  # fmt: skip
    add_place_flags(parser)
    return parser
