"""`python -m ibrobust.evaluate`: runs in; breaking radii, leaderboard and figures out."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ibrobust.commands.command_line import Parser, count, parsed, torch_device
from ibrobust.commands.gates import add_floor_flag, require_floors, require_radii
from ibrobust.commands.job_flags import add_job_flags, place_of, share_cores
from ibrobust.commands.progress_bar import shown_progress
from ibrobust.commands.report import add_reference_flag, print_report
from ibrobust.commands.sample_flags import add_sample_flags, drawn_samples
from ibrobust.commands.settings_flags import add_settings_flags, chosen_settings
from ibrobust.commands.stored_results import stored_corruptions, stored_entries
from ibrobust.commands.subject_flags import add_subject_flags, chosen_subjects
from ibrobust.errors import BadInput, shortened
from ibrobust.robustness.settings import Settings

_PROVEN = ("linf", "mean", "native", False)


def main(arguments: Sequence[str]) -> None:
    options = parsed(_parser, arguments)
    settings = chosen_settings(options)
    _require_together(options, settings)
    samples, selection = _sample_range(options.samples), drawn_samples(options)
    options.device = torch_device(options.device, options.threads)
    place = place_of(options, begin=partial(share_cores, options))

    from ibrobust.datasets import sorted_samples
    from ibrobust.experiments.certification import require_certifiable
    from ibrobust.experiments.evaluation import evaluate_subjects
    from ibrobust.experiments.selection import drawn
    from ibrobust.experiments.timings import TIMINGS, save_timing, timings
    from ibrobust.experiments.transfer import with_source
    from ibrobust.files import alone_in, require_replaceable, require_writable
    from ibrobust.robustness.corruption_board import reference_errors
    from ibrobust.robustness.question import Execution, gradients_asked

    gradients = gradients_asked(settings)
    subjects = [subject for subject, _ in chosen_subjects(options, options.out, gradients=gradients)]
    subjects = [with_source(subject, settings.transfer_from) for subject in subjects]
    if selection:
        subjects = [drawn(subject, selection) for subject in subjects]
    for subject in subjects if options.proofs == "always" else ():
        require_certifiable(subject)
    if options.mce_reference:
        reference_errors(options.mce_reference)
    require_writable(options.out)
    require_replaceable(
        *(options.out / name for name in ("leaderboard.csv", "curves.csv", "noise.csv", "corruptions.csv", TIMINGS))
    )
    if (options.out / TIMINGS).is_file():
        timings(options.out / TIMINGS)
    for subject in subjects:
        first, last = samples or (0, len(subject.test))
        sorted_by_class = sorted_samples(subject.test, last, first=first)
        for warning in [*(subject.model_record.warnings or []), *sorted_by_class]:
            print(f"warning: {subject.name}: {warning}", file=sys.stderr)
    execution = Execution(options.batch_size, options.device, kept=options.keep_images, proofs=options.proofs)
    with shown_progress(radius=None if settings.corrupts else settings.radii[-1]) as watch:
        for _, path, seconds in evaluate_subjects(
            subjects, samples, settings, execution, out=options.out,
            place=place, watch=watch,
        ):  # fmt: skip
            if seconds is not None:
                save_timing(options.out / TIMINGS, path, seconds)
    with alone_in(options.out):  # Whoever writes last has read everything.
        entries = stored_entries([options.out])
        results = [entry.results for entry in entries]
        corrupted = stored_corruptions([options.out])
        certain = [entry.certain for entry in entries]
        print_report(results, options.out, certain=certain, corrupted=corrupted, reference=options.mce_reference)
    answers = [result for result in results if result.card.settings == settings]
    require_floors(options.fail_below, [one for one in answers if any(s.describes(one.card) for s in subjects)])


def _require_together(options: Namespace, settings: Settings) -> None:
    """Raises:
    BadInput: one flag is of no use beside another.
    """
    if options.keep_images != "none" and settings.view != "mean":
        raise BadInput(f"--keep-images: with noise ({settings.view}) no single image proves that a sample is broken")
    if settings.corrupts and (options.keep_images != "none" or options.fail_below):
        flag = "--fail-below" if options.fail_below else "--keep-images"
        raise BadInput(f"{flag}: protocol {settings.label} attacks nothing")
    require_radii(options.fail_below, settings.radii, "this evaluation")
    if options.proofs != "never" and (settings.norm, settings.view, settings.backend, settings.corrupts) != _PROVEN:
        raise BadInput(
            "--proofs: there are proofs for norm linf, view mean, backend native and attacks; this asks for "
            f"norm {settings.norm}, view {settings.view}, backend {settings.backend}, protocol {settings.label}"
        )


def _sample_range(text: str | None) -> tuple[int, int] | None:
    """`N` is the first N samples, `A:B` those from A up to but without B; None is all."""
    if text is None:
        return None
    first, _, last = text.rpartition(":")
    whole = last.isdecimal() and (first or "0").isdecimal() and len(text) < 30
    if not (whole and int(first or 0) < int(last)):
        raise BadInput(f"--samples {shortened(text)!r}; write N for the first N or A:B for those from A up to B")
    return int(first or 0), int(last)


def _parser() -> Parser:
    parser = Parser("evaluate", "Attack trained runs, the released zoo or your own model; write a leaderboard.")
    add_subject_flags(parser)
    add_settings_flags(parser)
    add_sample_flags(parser, "first N test samples, or A:B; all by default")
    parser.add_argument("--batch-size", type=count, default=None, help="samples per pass; changes speed, not results")
    parser.add_argument(
        "--keep-images",
        nargs="?",
        const="best",
        default="none",
        choices=("best", "each"),
        help="keep the adversarial image at each sample's smallest breaking radius; each: one for every attack",
    )
    parser.add_argument(
        "--proofs", nargs="?", const="always", default="never", choices=("never", "auto", "always"),
        help="attack no sample at a radius where linear bounds prove that every attack fails: the same columns, less "
        "work for robust networks under strong protocols, more for others; auto: where it is less, by a look first",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder to write to")
    add_reference_flag(parser)
    add_floor_flag(parser)
    add_job_flags(parser)
    return parser
