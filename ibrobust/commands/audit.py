"""`python -m ibrobust.audit`: can a robustness number be believed? Checks, reasons and a verdict."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ibrobust.commands.command_line import Parser, count, parsed, torch_device, warnings_about
from ibrobust.commands.job_flags import add_job_flags, place_of, share_cores
from ibrobust.commands.settings_flags import add_settings_flags, chosen_settings
from ibrobust.commands.subject_flags import add_subject_flags, chosen_subjects
from ibrobust.errors import NotMet
from ibrobust.experiments.jobs import answers
from ibrobust.registry import EXTENSION_POINTS
from ibrobust.robustness.card import VERDICTS
from ibrobust.robustness.settings import Settings

if TYPE_CHECKING:
    from ibrobust.experiments.auditing import Audit
    from ibrobust.experiments.subject import Subject
    from ibrobust.robustness.storage import Results
    from ibrobust.subjects.zoo import Run


def main(arguments: Sequence[str]) -> None:
    options = parsed(_parser, arguments)
    settings = chosen_settings(options)
    options.device = torch_device(options.device, options.threads)

    from ibrobust.datasets import sorted_samples
    from ibrobust.experiments.auditing import twin_of
    from ibrobust.files import require_replaceable, require_writable
    from ibrobust.robustness.findings import FINDINGS, earlier_findings, save_findings
    from ibrobust.subjects.zoo import find_runs

    require_writable(options.results)
    path = options.results / FINDINGS
    require_replaceable(path)
    if path.is_file():
        earlier_findings(path)
    claims = [
        (subject, twin_of(its_run, find_runs([its_run.folder.parent])) if its_run else None)
        for subject, its_run in chosen_subjects(options, options.results)
    ]
    for subject, _ in claims:
        for sentence in sorted_samples(subject.test, options.samples):
            print(f"warning: {subject.name}: {sentence}", file=sys.stderr)
    doubted = []
    for (subject, _), (found, judged, told) in answers(
        partial(_audited, options=options, settings=settings),
        claims,
        place_of(options),
        begin=partial(share_cores, options),
    ):
        save_findings(judged, path)
        asked = judged.card.settings
        print(f"{subject.name}, {asked.label}, {asked.norm}, view {asked.view}{told}\n{found}\n", flush=True)
        if options.require and VERDICTS.index(found.verdict) < VERDICTS.index(options.require):
            doubted.append(f"{subject.name} is {found.verdict}: {'; '.join(found.reasons)}")
    print(path)
    if doubted:
        raise NotMet("; ".join(doubted))


def _audited(
    claim: "tuple[Subject, Run | None]", *, options: Namespace, settings: Settings
) -> "tuple[Audit, Results, str]":
    """One job."""
    from ibrobust.experiments.auditing import audit_subject, with_stored_columns
    from ibrobust.robustness.question import Execution

    subject, twin = claim
    execution = Execution(device=options.device)
    model = twin.model() if twin else None
    named = hasattr(options, "columns") or options.settings is not None
    settings, told = with_stored_columns(subject, settings, options.results, named=named)
    with warnings_about(subject.name):
        found = audit_subject(subject, settings, execution, samples=options.samples, out=options.results, twin=model)
    return *found, told


def _parser() -> Parser:
    parser = Parser("audit", "Check whether robustness numbers can be believed: trusted, suspect or masked, and why.")
    add_subject_flags(parser)
    add_settings_flags(parser, without=("backend",))
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of results, read and written")
    parser.add_argument("--samples", type=count, default=200, help="samples audited, the first of the results")
    parser.add_argument(
        "--require", choices=VERDICTS[1:], default=None, help="exit with code 3 where the verdict is a worse one"
    )
    add_job_flags(parser)
    parser.epilog = f"checks: {EXTENSION_POINTS['check'].choices}"
    return parser
