"""`python -m ibrobust.certify`: how much of the robustness that no attack refuted is certain."""

import sys
from argparse import ArgumentTypeError
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ibrobust.commands.command_line import Parser, parsed, table_text, torch_device, whole_number
from ibrobust.commands.job_flags import add_job_flags, place_of, share_cores
from ibrobust.commands.progress_bar import shown_progress
from ibrobust.commands.sample_flags import add_sample_flags, drawn_samples
from ibrobust.commands.settings_flags import add_settings_flags, chosen_settings, require_attacks
from ibrobust.commands.subject_flags import add_subject_flags, chosen_subjects
from ibrobust.errors import BadInput, RunFailed, shortened


def main(arguments: Sequence[str]) -> None:
    options = parsed(_parser, arguments)
    settings = chosen_settings(options, norm="linf", view="mean")
    require_attacks(settings)
    limits = {name: value for name in ("branches", "seconds") if (value := getattr(options, name)) is not None}
    selection = drawn_samples(options)
    options.device = torch_device(options.device, options.threads)
    place = place_of(options, begin=partial(share_cores, options))

    from ibrobust.certificates.effort import Effort
    from ibrobust.datasets import sorted_samples
    from ibrobust.experiments.certification import certify_subjects, require_certifiable
    from ibrobust.experiments.selection import drawn_results
    from ibrobust.experiments.stored_claims import stored_claim
    from ibrobust.files import require_replaceable, require_writable
    from ibrobust.result_folders import what_is_wrong
    from ibrobust.robustness.certified import CERTIFIED_SAMPLES
    from ibrobust.robustness.results import BreakingRadii
    from ibrobust.robustness.storage import first_samples

    effort = Effort(**limits) if limits else None
    require_writable(options.results)
    path = options.results / "certified.csv"
    require_replaceable(path, options.results / CERTIFIED_SAMPLES)
    subjects = [subject for subject, _ in chosen_subjects(options, options.results)]
    for subject in subjects:
        require_certifiable(subject)
    claims = []
    for subject in subjects:
        if not (stored := stored_claim(subject, settings, options.results)):
            reason = what_is_wrong(options.results) or "evaluate it first"
            raise BadInput(f"no {settings.label} results of {subject.name} in {str(options.results)!r}; {reason}")
        _, claim = stored
        assert isinstance(claim, BreakingRadii), "with the noise off"
        if selection:
            claims.append((subject, drawn_results(subject, claim, selection)))
            continue
        for sentence in sorted_samples(subject.test, options.samples):
            print(f"warning: {subject.name}: {sentence}", file=sys.stderr)
        claims.append((subject, first_samples(claim, options.samples)))
    with shown_progress() as watch:
        table = certify_subjects(
            claims,
            path,
            device=options.device,
            effort=effort,
            place=place,
            watch=watch,
        )
    print(table_text(table, float_format="{:.4f}".format))
    print(f"\n{path}")
    if wrong := table.loc[table["refuted"] > 0, "run"].tolist():
        raise RunFailed(
            f"an attack succeeded where the certificate says that none can, which is a bug: {', '.join(wrong)}"
        )


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"{shortened(text)!r} is not a number of seconds above 0")
    return value


def _parser() -> Parser:
    parser = Parser(
        "certify", "Radii within which no L∞ perturbation can change a prediction, beside what attacks broke."
    )
    add_subject_flags(parser)
    add_settings_flags(parser, only=("protocol", "attacks", "columns"))
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of results, read and written")
    add_sample_flags(parser, "samples certified, the first of the results", default=100)
    parser.add_argument(
        "--branches", type=whole_number(0, 2**31 - 1), metavar="N", default=None,
        help="after plain linear bounds, optimise slopes and intervals and branch on up to N parts of a sample's ball, "
        "all radii together; the same N gives the same file, 0 optimises alone. Without it and --seconds: plain bounds",
    )  # fmt: skip
    parser.add_argument(
        "--seconds", type=_seconds, metavar="S", default=None,
        help="likewise, for up to S seconds a sample; what is certain then depends on the machine",
    )  # fmt: skip
    add_job_flags(parser)
    return parser
