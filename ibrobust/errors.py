"""The errors that a command line turns into one line and an exit code."""


class BadInput(ValueError):
    """Something that the caller handed in cannot be used: one line naming it, its value and the choices."""

    exit_code = 2


class RunFailed(RuntimeError):
    """Valid input, but the work could not be done: a diverged training, an attack that broke its contract."""

    exit_code = 1
