"""Files that are either whole or not there, and names that are safe to make a path of."""

import errno
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ibrobust.errors import BadInput, shortened

try:
    import fcntl
except ModuleNotFoundError:  # Windows, where nobody else can remove a file that is open.
    fcntl = None  # type: ignore[assignment]

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM}

_NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,120}")
_UNFINISHED = ".unfinished"
_PART = "released"
"""What a wheel carries of the released zoo, inside the package."""
_NO_LOCK = -1
_MOMENT = 0.05
"""Seconds between two looks at whether a folder is free."""


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary name in the same folder to write to; flushed and renamed to `path` when the block ends well.

    What processes that were killed left unfinished in the folder is removed. A file that a living process writes is
    locked by it and stays.

    Raises:
        BadInput: the folder cannot be written, or there is a folder where the file should be.
        OSError: there is no room; its `filename` is the path.
    """
    require_writable(path.parent)
    require_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path.parent)
    handle, unfinished = _new_file(path)
    try:
        yield unfinished
        os.fsync(handle)
        unfinished.chmod(0o666 & ~_umask())
        if fcntl is None:
            os.close(handle)
        unfinished.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        unfinished.unlink(missing_ok=True)
        with suppress(OSError):
            os.close(handle)


def held(folder: Path) -> int | None:
    """Hold a folder, which is made where there is none, against other processes that ask the same; `let_go` of it.

    A process that ends lets go of what it holds. Nothing is held where the file system knows no locks.

    Returns:
        A handle; None while another process holds the folder.

    Raises:
        OSError: the folder cannot be made; its `filename` is the folder.
    """
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if fcntl is None:
                return _NO_LOCK
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # Another process has just removed a folder on the way to it.
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError:
            return handle
        if _is_still(folder, handle):
            return handle
        os.close(handle)


def let_go(handle: int) -> None:
    """Release what `held` holds."""
    if handle != _NO_LOCK:
        os.close(handle)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Inside the block no other process is inside such a block for the same folder: one waits for the other."""
    while (handle := held(folder)) is None:
        time.sleep(_MOMENT)
    try:
        yield
    finally:
        let_go(handle)


def require_writable(folder: Path) -> None:
    """Leaves nothing behind, not even the folder: whatever else is wrong with the input comes to light later.

    Raises:
        BadInput: it cannot be made or written.
        OSError: there is no room; its `filename` is the folder.
    """
    try:
        nearest = next(place for place in (folder, *folder.parents) if place.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        if no_room(error):
            error.filename = str(folder)
            raise
        raise BadInput(f"folder {str(folder)!r} cannot be written: {error.strerror}") from error


def require_replaceable(*paths: Path) -> None:
    """Whether files of these names can be written later, looked at before the work begins.

    Raises:
        BadInput: there is a folder where a file should be.
    """
    for path in paths:
        if path.is_dir():
            raise BadInput(f"{str(path)!r} is a folder, where a file of that name is to be written")


def no_room(error: OSError) -> bool:
    """Whether an error says that the machine has no room left (disk, open files, memory), and nothing about a path."""
    return error.errno in _NO_ROOM


def checked_name(name: object, what: str) -> str:
    """The name itself if it is safe as part of a path and in a table: ASCII letters, digits, `.`, `-` and `_`, at most
    120 of them, with no `.` in front.

    Args:
        what: the file and field, or the argument, that the name comes from.

    Raises:
        BadInput: it is anything else.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    rule = "names are 1 to 120 letters, digits, '-', '_' and inner '.'"
    raise BadInput(f"{what}: {shortened(repr(name))} is no name; {rule}")


def as_name(text: str) -> str:
    """A name that `checked_name` accepts: the text itself, or with a digest of it where characters had to go."""
    if _NAME.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{re.sub('[^A-Za-z0-9._]+', '-', text).strip('.-')[:100]}-{digest}"


def user_cache() -> Path | None:
    """The folder where what can be computed again is kept for this user: `$IBROBUST_CACHE`, or `ibrobust` in the
    system's folder for such things; None where there is no such place."""
    if named := os.environ.get("IBROBUST_CACHE"):
        return Path(named)
    system = os.environ.get("LOCALAPPDATA") if os.name == "nt" else os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(system) if system else Path.home() / ".cache") / "ibrobust"
    except RuntimeError:  # a user without a home
        return None


def released_zoo() -> Path:
    """The folder of released recipes, runs and results: beside the package in a checkout; installed, that of the
    distribution `ibrobust-zoo`, or, where that is not there, the part of it that the package carries."""
    package = Path(__file__).parent
    part = package / _PART
    return _installed_zoo() or part if part.is_dir() else package.parent / "zoo"


def rest_of_zoo(paths: Sequence[Path]) -> str:
    """What to say, behind a semicolon, where a path is in the released zoo and only a part of that is here."""
    named = any(path.parts[:1] == ("zoo",) and not path.exists() for path in paths)
    part = named and released_zoo().name == _PART
    return "; a part of the released zoo is here, pip install 'ibrobust[zoo]' brings all of it" if part else ""


def _installed_zoo() -> Path | None:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        folder = Path(str(distribution("ibrobust-zoo").locate_file("ibrobust_zoo")))
    except PackageNotFoundError:
        return None
    return folder if folder.is_dir() else None


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted; nothing where there is no folder. Unlike `glob`, this leaves out nothing that may
    not be read.

    Raises:
        OSError: the folder may not be read; its `filename` is the folder.
    """
    return sorted(folder.iterdir()) if folder.is_dir() else []


def in_zoo(path: Path) -> Path:
    """The path itself, or, where it begins with `zoo` and is not there, the file or folder of that name in the released
    zoo: `zoo/results`, `zoo/recipes/mnist.toml`."""
    first, *rest = path.parts or [""]
    return released_zoo().joinpath(*rest) if first == "zoo" and not path.exists() else path


def _new_file(path: Path) -> tuple[int, Path]:
    """An open file beside the path, which is locked until it is closed."""
    while True:
        try:
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_UNFINISHED)
        except OSError as error:
            error.filename = str(path)
            raise
        _lock(handle, wait=True)
        # Between the two lines above another process may have taken it for abandoned.
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)


def _remove_abandoned(folder: Path) -> None:
    for path in folder.glob(f".*{_UNFINISHED}"):
        with suppress(OSError):
            if fcntl is None:
                path.unlink()
            elif path.is_file():
                with path.open("r+b") as handle:
                    if _lock(handle.fileno(), wait=False):
                        path.unlink()


def _lock(handle: int, *, wait: bool) -> bool:
    """Whether this process holds the file now; False too where the file system knows no locks."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _is_still(folder: Path, handle: int) -> bool:
    """Whether the open folder is the one of that name, and not one that was removed before it was held."""
    try:
        return os.path.samestat(os.stat(folder), os.fstat(handle))
    except FileNotFoundError:
        return False


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
