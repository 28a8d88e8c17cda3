"""`python -m ibrobust.audit`: can a robustness number be believed? Checks, reasons and a verdict."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ibrobust.commands.command_line import Parser, parsed, torch_device
from ibrobust.commands.job_flags import add_job_flags, place_of, share_cores
from ibrobust.commands.progress_bar import shown_progress
from ibrobust.commands.sample_flags import add_sample_flags, drawn_samples
from ibrobust.commands.settings_flags import add_settings_flags, chosen_settings, require_attacks
from ibrobust.commands.subject_flags import add_subject_flags, chosen_subjects
from ibrobust.errors import BadInput, NotMet
from ibrobust.registry import EXTENSION_POINTS
from ibrobust.robustness.verdicts import VERDICTS


def main(arguments: Sequence[str]) -> None:
    options = parsed(_parser, arguments)
    settings = chosen_settings(options)
    require_attacks(settings)
    for key in ("target_class", "transfer_from"):
        if value := getattr(settings, key):
            raise BadInput(f"{key} {value}: an audit is about attacks on the model itself, towards any mistake")
    selection = drawn_samples(options)
    options.device = torch_device(options.device, options.threads)
    place = place_of(options, begin=partial(share_cores, options))

    from ibrobust.datasets import sorted_samples
    from ibrobust.experiments.audited_subjects import ToAudit, audit_subjects
    from ibrobust.experiments.auditing import twin_of
    from ibrobust.experiments.stored_claims import with_stored_columns
    from ibrobust.files import alone_in, require_replaceable, require_writable
    from ibrobust.robustness.findings import FINDINGS, earlier_findings, save_findings
    from ibrobust.robustness.question import gradients_asked
    from ibrobust.subjects.zoo import find_runs

    require_writable(options.results)
    path = options.results / FINDINGS
    require_replaceable(path)
    if path.is_file():
        earlier_findings(path)
    claims, doubted = [], []
    named = hasattr(options, "columns") or options.settings is not None
    for subject, its_run in chosen_subjects(options, options.results, gradients=gradients_asked(settings)):
        twin = twin_of(its_run, find_runs([its_run.folder.parent])) if its_run else None
        claims.append(ToAudit(subject, twin, *with_stored_columns(subject, settings, options.results, named=named)))
    for claim in claims if selection is None else ():
        for sentence in sorted_samples(claim.subject.test, options.samples):
            print(f"warning: {claim.subject.name}: {sentence}", file=sys.stderr)
    with shown_progress(radius=settings.radii[-1]) as watch:
        for audited in audit_subjects(
            claims, device=options.device, samples=options.samples, selection=selection, out=options.results,
            place=place, watch=watch,
        ):  # fmt: skip
            with alone_in(options.results):
                save_findings(audited.results, path)
            found, settings = audited.audit, audited.results.card.settings
            name = audited.subject.name
            print(
                f"{name}, {settings.label}, {settings.norm}, view {settings.view}{audited.told}\n{found}\n", flush=True
            )
            if options.require and VERDICTS.index(found.verdict) < VERDICTS.index(options.require):
                doubted.append(f"{name} is {found.verdict}: {'; '.join(found.reasons)}")
    print(path)
    if doubted:
        raise NotMet("; ".join(doubted))


def _parser() -> Parser:
    parser = Parser("audit", "Check whether robustness numbers can be believed: trusted, suspect or masked, and why.")
    add_subject_flags(parser)
    add_settings_flags(parser, without=("backend",))
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of results, read and written")
    add_sample_flags(parser, "samples audited, the first of the results", default=200)
    parser.add_argument(
        "--require", choices=VERDICTS[1:], default=None, help="exit with code 3 where the verdict is a worse one"
    )
    add_job_flags(parser)
    parser.epilog = f"checks: {EXTENSION_POINTS['check'].choices}"
    return parser
