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
        [sys.executable, "-c", FAULTS], env=os.environ | environment, capture_output=True, encoding="utf-8", check=True
    )
    return int(answer.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone is tuned")
def test_freed_memory_is_used_again_unless_the_environment_says_otherwise() -> None:
    assert faults() < 5 * 8192 / 4, "the heap may still grow once"
    assert faults(MALLOC_MMAP_THRESHOLD_="131072") > 5 * 8192 / 2


LIBRARY_CALL = """
import sys
import torch
import ibrobust
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
ibrobust.breaking_radii(model, torch.rand(3, 1, 2, 2), torch.tensor([0, 1, 0]), eps=0.1)
print("ibrobust.cpu.allocator" in sys.modules)
"""


def test_a_library_call_sets_up_nobodys_memory() -> None:
    answer = subprocess.run([sys.executable, "-c", LIBRARY_CALL], capture_output=True, encoding="utf-8", check=True)
    assert answer.stdout.strip() == "False"


def test_a_commands_job_does(monkeypatch) -> None:
    from argparse import Namespace

    from ibrobust.commands import job_flags

    kept = []
    monkeypatch.setattr(job_flags, "keep_freed_memory", lambda: kept.append(True))
    job_flags.share_cores(Namespace(device="cpu", threads=1, workers=2))
    assert kept == [True]
