"""Memory that a computation frees is kept for its next step, instead of going back to the system each time."""

import ctypes
import os
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""What glibc's malloc.h calls M_TRIM_THRESHOLD and M_MMAP_THRESHOLD."""


@cache
def keep_freed_memory() -> None:
    """Gradients of a LeNet take two thirds of the time: every pass allocates tens of MB, and pages that come fresh from
    the system have to be mapped and zeroed first.

    For the whole process, with glibc alone, and not where $MALLOC_TRIM_THRESHOLD_ or $MALLOC_MMAP_THRESHOLD_ say
    otherwise.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None or {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & os.environ.keys():
        return
    mallopt(_TRIM_THRESHOLD, 2**30)
    # Older versions refuse more than 32 MiB.
    mallopt(_MMAP_THRESHOLD, 2**30) or mallopt(_MMAP_THRESHOLD, 2**25)
