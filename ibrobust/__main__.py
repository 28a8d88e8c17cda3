"""`python -m ibrobust`, and `ibrobust` where the package is installed: every command by its name."""

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

import ibrobust
from ibrobust.commands.signals import run_command
from ibrobust.errors import BadInput

COMMANDS = (
    "train",
    "evaluate",
    "report",
    "audit",
    "certify",
    "compare",
    "claims",
    "information",
    "histories",
    "verify",
    "export",
    "submit",
    "accept",
    "models",
    "datasets",
)


def main(arguments: Sequence[str]) -> int | None:
    """Hand the rest of the arguments to the command that the first one names.

    Raises:
        BadInput: there is no such command.
    """
    first, *rest = arguments or ["--help"]
    if first in ("-h", "--help"):
        print(_help())
        return 0
    if first == "--version":
        print(f"ibrobust {ibrobust.__version__}")
        return 0
    if first not in COMMANDS:
        raise BadInput(f"no command {first!r}; choose from {', '.join(COMMANDS)}, --help or --version")
    chosen: int | None = _module(first).main(rest)
    return chosen


def command() -> None:
    """The script `ibrobust`."""
    run_command("ibrobust.__main__")


def _help() -> str:
    """The commands, each with the sentence that its module begins with."""
    lines = [f"  {name:<13}{_sentence(name)}" for name in COMMANDS]
    usage = "usage: ibrobust COMMAND … | --help | --version"
    return "\n".join([usage, "", *lines, "", "ibrobust COMMAND --help shows the flags of a command."])


def _sentence(name: str) -> str:
    return str(_module(name).__doc__).splitlines()[0].partition(": ")[2]


def _module(name: str) -> ModuleType:
    return import_module(f"ibrobust.commands.{name}")


if __name__ == "__main__":
    command()
