"""Freed memory stays in the process. Counted in page faults of a fresh process, which nothing else has touched."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from ibrobust.cpu.allocator import keep_freed_memory

def passes():
    for _ in range(5):
        torch.ones(2**22) + 1

keep_freed_memory()
passes()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
passes()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**environment: str) -> int:
    """Page faults of five passes that allocate 32 MiB each, 8192 pages, after five others."""
    answer = subprocess.run(
        [sys.executable, "-c", FAULTS], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return int(answer.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone is tuned")
def test_freed_memory_is_used_again_unless_the_environment_says_otherwise() -> None:
    assert faults() < 5 * 8192 / 4, "the heap may still grow once"
    assert faults(MALLOC_MMAP_THRESHOLD_="131072") > 5 * 8192 / 2
