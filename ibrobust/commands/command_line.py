"""The thin edge that every command shares: parsing, one line per error, exit codes. Imports nothing heavy."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from ibrobust.errors import BadInput, RunFailed

# Before torch starts its threads: on a busy machine threads that spin while they wait made training 9 times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


class _DefaultsShown(argparse.ArgumentDefaultsHelpFormatter):
    """Defaults in the help, but for flags whose help says what happens without them."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        without = action.default is None or action.default is False
        return action.help if without else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """Defaults in the help; an error is one line on stderr and exit code 2."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(
            prog=f"python -m ibrobust.{command}",
            description=description,
            formatter_class=_DefaultsShown,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        print(f"error: {message}", file=sys.stderr)
        sys.exit(BadInput.exit_code)

    def add_data_flags(self) -> None:
        """Where data sets lie."""
        self.add_argument(
            "--data-dir",
            type=Path,
            default=os.environ.get("IBROBUST_DATA"),
            help="folder of MNIST, CIFAR-10, …; $IBROBUST_DATA by default",
        )
        self.add_argument("--download", action="store_true", help="fetch a missing data set into the data folder")

    def add_device_flags(self, *, threads: int | None) -> None:
        """Where tensors live, and CPU threads; None leaves the number to torch."""
        self.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
        self.add_argument(
            "--threads",
            type=count,
            default=threads,
            help="CPU threads" if threads else "CPU threads; all cores by default",
        )


def run(main: Callable[[Sequence[str]], int | None]) -> NoReturn:
    """Call a command's `main` with the arguments and exit as it says; expected errors are one line on stderr."""
    try:
        sys.exit(main(sys.argv[1:]))
    except (BadInput, RunFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted: finished work is kept, and the same command goes on from there", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def torch_device(name: str, threads: int | None) -> str:
    """The device to use, with the number of CPU threads set; `auto` is the first GPU where there is one.

    Raises:
        BadInput: no such device.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise BadInput(f"--device {name!r} is not there; choose from auto, cpu, cuda, cuda:N") from error
    return name


def count(text: str) -> int:
    """An argument's type: a whole number above 0."""
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
