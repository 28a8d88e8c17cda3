"""`python -m ibrobust.audit`: can a robustness number be believed? Checks, reasons and a verdict."""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ibrobust.command_line import Parser, run, torch_device
from ibrobust.errors import BadInput
from ibrobust.radii import parse_radii
from ibrobust.registry import declared_names

if TYPE_CHECKING:
    from torch import nn

    from ibrobust.evaluation import Subject


_SEARCH = {"search": "bisect", "columns": "own"}
"""How missing results are evaluated."""


def main(arguments: Sequence[str]) -> None:
    options = _parser().parse_args(arguments)
    parse_radii(options.eps)
    if options.samples < 1:
        raise BadInput(f"--samples {options.samples}: 1 or more")
    options.device = torch_device(options.device, options.threads)

    from ibrobust.auditing import AUDIT, audit_subject
    from ibrobust.files import writable_folder

    writable_folder(options.results)
    settings = {key: getattr(options, key) for key in ("eps", "protocol", "norm", "noise", "seed", "device")}
    for subject, twin in audited_subjects(options):
        found = audit_subject(subject, {**settings, **_SEARCH}, samples=options.samples, out=options.results, twin=twin)
        print(f"{subject.name}, {options.protocol}, {options.norm}, noise {options.noise}\n{found}\n", flush=True)
    print(options.results / AUDIT)


def audited_subjects(options: Namespace) -> "Iterator[tuple[Subject, nn.Module | None]]":
    """What is audited, each with its unregularised twin if it lies beside it."""
    from ibrobust.auditing import twin_of
    from ibrobust.evaluation import foreign_subject, run_subject
    from ibrobust.zoo import CARD, find_runs

    flags: dict[str, Any] = {"data_dir": options.data_dir, "download": options.download}
    if options.model:
        if options.run:
            raise BadInput(f"--model {options.model}: audits that model alone; leave out {options.run[0]}")
        if not options.data:
            raise BadInput(f"--model {options.model}: needs --data, a data set's name, an .npz file or a folder")
        yield foreign_subject(options.model, options.data, **flags), None
        return
    if options.data:
        raise BadInput(f"--data {options.data}: a run is audited on its own data; --data goes with --model")
    own = options.runs.is_dir() and any(options.runs.glob(f"*/{CARD}"))
    found = find_runs(options.run or [options.runs if own else Path("zoo")])
    for each in found:
        twin = twin_of(each, find_runs([each.folder.parent]))
        yield run_subject(each, **flags), twin.model() if twin else None


def _parser() -> Parser:
    parser = Parser("audit", "Check whether robustness numbers can be believed: trusted, suspect or masked, and why.")
    add_subject_flags(parser)
    parser.add_argument("--eps", default="0:0.1", help="radii where results are missing: 0:0.1, 0:0.1:21, or a list")
    for flag, default in (("protocol", "paper"), ("norm", "linf")):
        names = declared_names("attacks", f"{flag.upper()}S")
        parser.add_argument(f"--{flag}", default=default, metavar=flag.upper(), help=", ".join(names))
    parser.add_argument("--noise", default="mean", help="what attacks see of latent noise: mean, fresh or averaged:N")
    parser.add_argument("--samples", type=int, default=200, help="samples audited, the first of the results")
    parser.add_argument("--seed", type=int, default=0, help="seed of the attacks where results are missing")
    return parser


def add_subject_flags(parser: Parser) -> None:
    """Which runs or model, where they, their data and their results lie."""
    parser.add_argument(
        "run", type=Path, nargs="*", help="runs or folders of runs; zoo for the released ones; --runs by default"
    )
    parser.add_argument("--model", default=None, metavar="FILE.py:FACTORY", help="take this nn.Module instead of runs")
    parser.add_argument("--data", default=None, help="data for --model: a name, FILE.npz or a folder of class folders")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of results, read and written")
    parser.add_data_flags()
    parser.add_device_flags(threads=None)


if __name__ == "__main__":
    run(main)
