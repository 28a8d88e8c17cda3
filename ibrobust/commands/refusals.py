"""What the machine refused, in one line: where, and what is needed."""

import errno
import re
import subprocess
import sys
from collections.abc import Sequence

from ibrobust.errors import RunFailed, ran_out_of_memory

_KEPT = "what is finished is kept, and the same command goes on from there"
_NO_MEMORY = f"not enough memory; try fewer --workers, a smaller --batch-size or fewer samples; {_KEPT}"
_REASONS = {
    errno.ENOSPC: f"no room is left on the device; free some: {_KEPT}",
    errno.EDQUOT: f"the disk quota is used up; free some: {_KEPT}",
    errno.EMFILE: f"too many files are open; raise the limit (ulimit -n) or take fewer --workers; {_KEPT}",
    errno.ENFILE: f"too many files are open on this machine; take fewer --workers; {_KEPT}",
    errno.ENOMEM: _NO_MEMORY,
}
_ROOMY = 6 * 2**30
"""Address space, in bytes, that PyTorch and the others certainly fit in: with CUDA they take 3.6 GB."""
_IMPORTS = "import torch, pandas, pyarrow.parquet, scipy.special, seaborn"


def refusal(error: BaseException) -> str | None:
    """One line about an exception that says that the machine has no room, or that a path may not be used; None where
    it says something else."""
    if ran_out_of_memory(error):
        return _NO_MEMORY
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        where = error.filename or ("standard output" if of_output(error) else "")
        reason = _REASONS.get(error.errno or 0) or error.strerror or str(error)
        return f"{where}: {reason}" if where else reason
    # PyTorch tells the system's number of the error at the end of a message of its own.
    number = re.search(r"\((\d+)\)$", str(error)) if isinstance(error, RuntimeError) else None
    if number and int(number[1]) in _REASONS:
        where = "/dev/shm: " if "shared memory" in str(error) else ""
        return where + _REASONS[int(number[1])]
    return None


def of_output(error: BaseException) -> bool:
    """Whether what is printed has no room: all others say which path has none."""
    return isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None


def require_address_space(arguments: Sequence[str]) -> None:
    """Where the process may have little address space (`ulimit -v`), try in another one whether the libraries fit in:
    some of them end the process when they do not.

    Raises:
        RunFailed: they do not.
    """
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit in (-1, resource.RLIM_INFINITY) or limit >= _ROOMY or {"-h", "--help", "--version"} & {*arguments}:
        return
    if subprocess.run([sys.executable, "-c", _IMPORTS], capture_output=True, check=False).returncode:
        raise RunFailed(
            f"PyTorch does not fit into {limit / 2**30:.1f} GB of address space; raise the limit (ulimit -v) to "
            f"{_ROOMY / 2**30:.0f} GB"
        )
