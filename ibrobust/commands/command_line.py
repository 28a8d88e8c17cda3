"""The thin edge that every command shares: parsing, one line per error, exit codes. Imports nothing heavy."""

import argparse
import codecs
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from ibrobust.commands.refusals import of_output, refusal, require_address_space
from ibrobust.commands.signals import ended_by_signals
from ibrobust.errors import BadInput, ModelWarning, NotMet, RunFailed, one_line, shortened
from ibrobust.files import rest_of_zoo
from ibrobust.plugins import load_plugins

if TYPE_CHECKING:
    import pandas as pd

_CLEARED = "\r\x1b[K"
"""Back to the beginning of the line, and nothing on it."""

_SPELLED = "ibrobust.spelled"

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
        self.add_argument(
            "--plugin",
            action="append",
            default=argparse.SUPPRESS,
            metavar="FILE.py",
            help="add what this file registers; repeatable",
        )

    def error(self, message: str) -> NoReturn:
        print(f"error: {message}", file=sys.stderr)
        sys.exit(BadInput.exit_code)

    def print_help(self, file: Any = None) -> None:
        # argparse takes no notice of a full disk.
        print(self.format_help(), end="", file=file or sys.stdout)

    def add_data_flags(self) -> None:
        """Where data sets lie."""
        self.add_argument(
            "--data-dir",
            type=Path,
            default=os.environ.get("IBROBUST_DATA"),
            help="folder of MNIST, CIFAR-10, …; $IBROBUST_DATA by default",
        )
        self.add_argument("--download", action="store_true", help="fetch a missing data set into the data folder")

    def add_device_flags(self, *, default_threads: int | None) -> None:
        """Where tensors live, and CPU threads; None leaves the number to torch."""
        self.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
        self.add_argument(
            "--threads",
            type=threads,
            default=default_threads,
            help="CPU threads" if default_threads else "CPU threads; all cores by default",
        )


def parsed(parser: Callable[[], Parser], arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments, parsed after the plugins that they name are loaded: help lists what those register.

    Raises:
        BadInput: a plugin cannot be loaded.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--plugin", action="append", default=[])
    with suppress(argparse.ArgumentError):  # a flag without its value: the parser itself says so
        load_plugins(first.parse_known_args(arguments)[0].plugin)
    return parser().parse_args(arguments)


def run(main: Callable[[Sequence[str]], int | None]) -> NoReturn:
    """Call a command's `main` with the arguments and exit as it says; expected errors are one line on stderr.

    Characters that the terminal cannot show are spelled: σ as sigma, ≤ as <=, others by their number.
    """
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors=_SPELLED)
    sys.exit(_exit_code(main))


def _exit_code(main: Callable[[Sequence[str]], int | None]) -> int | str | None:
    arguments = sys.argv[1:]
    try:
        with ended_by_signals():
            require_address_space(arguments)
            code = _code_of(main, arguments)
            if sys.stdout:
                sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return 0
    except (BadInput, RunFailed) as error:
        return _failed(_as_typed(str(error), arguments), error.exit_code)
    except NotMet as error:
        return _failed(str(error), error.exit_code, prefix="not met: ")
    except (OSError, MemoryError, RuntimeError, ImportError) as error:
        if (reason := refusal(error)) is None:
            raise
        if of_output(error):
            _drop_output()
        return _failed(reason, RunFailed.exit_code)
    return code


def _code_of(main: Callable[[Sequence[str]], int | None], arguments: Sequence[str]) -> int | str | None:
    try:
        return main(arguments)
    except SystemExit as stop:  # after --help, or a flag that was refused
        return stop.code


@contextmanager
def warnings_about(name: str) -> Iterator[None]:
    """Inside the block each warning about a model is one line on stderr, once."""
    told: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, ModelWarning):
            usual(message, category, *place, **more)
        elif (text := str(message)) not in told:
            told.add(text)
            print(f"warning: {name}: {one_line(text)}", file=sys.stderr, flush=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", ModelWarning)
        usual, warnings.showwarning = warnings.showwarning, show
        yield


def _as_typed(message: str, arguments: Sequence[str]) -> str:
    """A message that begins with the name of a parameter, beginning with the flag that was typed for it instead."""
    flag = f"--{message.partition(' ')[0].replace('_', '-')}"
    typed = any(argument == flag or argument.startswith(f"{flag}=") for argument in arguments)
    return f"{flag}{message[len(flag) - 2 :]}" if typed else message


def _failed(message: str, code: int, prefix: str = "error: ") -> int:
    """The exit code, after one line on stderr."""
    print(f"{prefix}{one_line(message)}", file=sys.stderr)
    return code


def _drop_output() -> None:
    """What still waits to be printed goes nowhere: the interpreter would fail on it again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_SPELLINGS = {
    "α": "alpha", "β": "beta", "γ": "gamma", "Δ": "Delta", "δ": "delta", "ε": "eps", "θ": "theta", "λ": "lambda",
    "μ": "mu", "π": "pi", "ρ": "rho", "Σ": "Sigma", "σ": "sigma", "ψ": "psi", "∞": "inf", "≤": "<=", "≥": ">=",
    "×": "x", "±": "+/-", "−": "-", "–": "-", "—": "-", "→": "->", "…": "...", "·": "|", "²": "^2", "½": "1/2",
    "¼": "1/4", "¾": "3/4", "§": "section ", "‖": "||", "○": "o", "≈": "~", "’": "'", "‘": "'", "“": '"', "”": '"',
}  # fmt: skip


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """What a terminal of few characters shows instead, as a handler of encoding errors."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    plain = (_SPELLINGS.get(one, one.encode("ascii", "backslashreplace").decode()) for one in characters)
    return "".join(plain), error.end


codecs.register_error(_SPELLED, _spelled)


def table_text(
    table: "pd.DataFrame", *, formatters: Mapping[str, Callable[[Any], str]] = MappingProxyType({}), **kwargs: Any
) -> str:
    """The table as the terminal can show it, a line per row whatever its names hold.

    Args:
        formatters: by column; kwargs: as `DataFrame.to_string` takes them.
    """
    text = table.rename(columns=lambda name: _shown(str(name)))
    text = text.map(lambda cell: _shown(cell) if isinstance(cell, str) else cell)
    formats = {_shown(name): form for name, form in formatters.items()}
    return str(text.to_string(index=False, formatters=formats, **kwargs))


def _shown(text: str) -> str:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return one_line(text).encode(encoding, _SPELLED).decode(encoding)


def note_part_of_zoo(places: Sequence[Path]) -> None:
    """Say so where the released zoo is meant and only a part of it is installed."""
    if rest := rest_of_zoo(places):
        print(f"note: {rest.removeprefix('; ')}", file=sys.stderr)


@contextmanager
def doing(what: str) -> Iterator[Callable[[str], None]]:
    """On a terminal, says what is being done while the block runs; the line goes when it ends.

    Yields:
        A function that says something else instead.
    """
    shown = sys.stderr is not None and sys.stderr.isatty() and "TQDM_DISABLE" not in os.environ

    def say(what: str) -> None:
        if shown:
            print(f"{_CLEARED}{one_line(what)} …", end="", file=sys.stderr, flush=True)

    say(what)
    try:
        yield say
    finally:
        if shown:
            print(_CLEARED, end="", file=sys.stderr, flush=True)


def torch_device(name: str, threads: int | None) -> str:
    """The device to use, with the number of CPU threads set; `auto` is the first GPU where there is one.

    Raises:
        BadInput: no such device.
    """
    with nullcontext() if "torch" in sys.modules else doing("loading PyTorch"):
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


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """An argument's type: a whole number from `least` to `most`."""

    def checked(text: str) -> int:
        # A number of so many digits is too large whatever they are, and Python refuses to read it.
        short = text.strip().lstrip("-+").isdecimal() and len(text) < 100
        if not (short and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"{shortened(text)!r} is not a whole number from {least} to {most}")
        return int(text)

    return checked


count = whole_number(1, 2**31 - 1)
"""An argument's type: how many."""

seed = whole_number(0, 2**63 - 1)
"""An argument's type: the seed of random numbers."""

threads = whole_number(1, 1024)
"""An argument's type: a number of CPU threads."""
