"""The errors that a command line turns into one line and an exit code."""

import unicodedata

_NO_MEMORY = (
    "can't allocate memory", "failed to allocate", "failed to map segment", "cannot allocate memory",
    "can't start new thread",
)  # fmt: skip
"""How PyTorch on a CPU, the loader of shared libraries and Python's threads say it."""


class BadInput(ValueError):
    """Something that the caller handed in cannot be used: one line naming it, its value and the choices."""

    exit_code = 2


class RunFailed(RuntimeError):
    """Valid input, but the work could not be done: a diverged training, an attack that broke its contract."""

    exit_code = 1


class ModelWarning(UserWarning):
    """Something about a model makes its numbers mean something else than they seem; they are measured anyway."""


class NotMet(RuntimeError):
    """The work is done, and a condition that the caller set on its outcome does not hold."""

    exit_code = 3


def one_line(text: str) -> str:
    """The text with its line breaks and other control characters written out, as `\\n`: a table keeps its rows."""
    return "".join(
        character.encode("unicode_escape").decode() if _breaks(character) else character for character in text
    )


def shortened(text: str) -> str:
    """The text on one line, and what is beyond 80 characters of it as dots: for what was read from a file."""
    return one_line(text if len(text) <= 80 else f"{text[:80]}…")


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says so, in whatever class."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(words in str(error) for words in _NO_MEMORY)


def _breaks(character: str) -> bool:
    """Control and format characters, surrogates (bytes of a file name that are not UTF-8), separators of lines."""
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
