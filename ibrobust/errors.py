"""The errors that a command line turns into one line and an exit code."""

import unicodedata


class BadInput(ValueError):
    """Something that the caller handed in cannot be used: one line naming it, its value and the choices."""

    exit_code = 2


class RunFailed(RuntimeError):
    """Valid input, but the work could not be done: a diverged training, an attack that broke its contract."""

    exit_code = 1


def one_line(text: str) -> str:
    """The text with its line breaks and other control characters written out, as `\\n`: a table keeps its rows."""
    return "".join(
        character.encode("unicode_escape").decode() if _breaks(character) else character for character in text
    )


def _breaks(character: str) -> bool:
    """Control and format characters, surrogates (bytes of a file name that are not UTF-8), separators of lines."""
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
