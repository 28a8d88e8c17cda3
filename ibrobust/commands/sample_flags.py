"""The flags that say which samples: the first ones, or some that are drawn."""

from argparse import Namespace
from typing import TYPE_CHECKING

from ibrobust.commands.command_line import Parser, count
from ibrobust.errors import BadInput

if TYPE_CHECKING:
    from ibrobust.experiments.selection import Selection


def add_sample_flags(parser: Parser, about: str, *, default: int | None = None) -> None:
    """What `drawn_samples` reads.

    Args:
        about: what `--samples` means.
        default: how many it means where neither flag is given. None leaves its text as it is, for commands that
            understand more than a number.
    """
    if default is None:
        parser.add_argument("--samples", default=None, help=about)
    else:
        parser.add_argument("--samples", type=count, default=None, help=f"{about} (default: {default})")
    parser.add_argument(
        "--sample", default=None, metavar="HOW:N:SEED",
        help="instead: random:N:SEED, or stratified:N:SEED, which keeps the classes' shares; seed 0 by default",
    )  # fmt: skip
    parser.set_defaults(usual_samples=default)


def drawn_samples(options: Namespace) -> "Selection | None":
    """What `--sample` draws, or None where the first samples are taken; `--samples` has its number then.

    Raises:
        BadInput: the text cannot be used, or both flags are given.
    """
    from ibrobust.experiments.selection import selection_of

    if options.sample and options.samples is not None:
        raise BadInput(
            f"--sample {options.sample}: leave out --samples {options.samples}; one of them says which samples"
        )
    selection = selection_of(options.sample) if options.sample is not None else None
    if options.samples is None:
        options.samples = selection.count if selection and options.usual_samples else options.usual_samples
    return selection
