"""Entropy of 10,000 samples in 256 dimensions beside the bare matrix products and a KD-tree; memory at 50,000.

pytest benchmarks/test_entropy_speed.py --benchmark-enable -s
"""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from scipy.spatial import KDTree
from torch import Tensor

from ibrobust.entropies.entropy import knn_entropy

N, K, BLOCK = 10_000, 256, 512
TREE_QUERIES = 1000
"""The tree answers a tenth of the queries, and is charged ten times its time."""


@pytest.fixture(scope="module")
def latent() -> Tensor:
    return torch.randn(N, K, generator=torch.Generator().manual_seed(0))


def bare_products(z: Tensor) -> None:
    for block in z.split(BLOCK):
        block @ z.T


def test_entropy_against_bare_matrix_products(benchmark: BenchmarkFixture, latent: Tensor) -> None:
    """Alternating and the best of seven, so that what else the machine does touches neither; twice as long is
    the goal."""
    times: dict[str, list[float]] = {"products": [], "entropy": []}
    for _ in range(7):
        for name, work in (("products", bare_products), ("entropy", knn_entropy)):
            start = time.perf_counter()
            work(latent)
            times[name].append(time.perf_counter() - start)
    benchmark.pedantic(knn_entropy, args=(latent,), rounds=3)
    products, entropy = (min(times[name]) for name in ("products", "entropy"))
    benchmark.extra_info["ratio_to_products"] = entropy / products
    print(f"\nentropy / bare products: {entropy / products:.2f} ({entropy:.2f} s / {products:.2f} s)")


def test_entropy_against_a_kd_tree(benchmark: BenchmarkFixture, latent: Tensor) -> None:
    """scipy's KDTree on as many cores, for the same neighbours; the goal is five times slower or more."""
    points = latent.double().numpy()
    start = time.perf_counter()
    tree = KDTree(points)
    built = time.perf_counter() - start
    start = time.perf_counter()
    tree.query(points[:TREE_QUERIES], k=4, workers=torch.get_num_threads())
    tree_time = built + (time.perf_counter() - start) * N / TREE_QUERIES
    benchmark.pedantic(knn_entropy, args=(latent,), rounds=3, warmup_rounds=1)
    ratio = tree_time / benchmark.stats.stats.median
    benchmark.extra_info["ratio_of_kd_tree"] = ratio
    print(f"\nKD-tree / entropy: {ratio:.1f} ({tree_time:.1f} s / {benchmark.stats.stats.median:.2f} s)")


_PEAK = """
from pathlib import Path
import torch
from ibrobust.entropies.entropy import knn_entropy
knn_entropy(torch.randn(50_000, 256, generator=torch.Generator().manual_seed(0)))
(peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(int(peak.split()[1]) / 2**20)
"""


def test_memory_at_50_000_samples(benchmark: BenchmarkFixture) -> None:
    """Peak of a process of its own, interpreter and torch included: below 1.5 GB."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak is read from /proc")
    words = [sys.executable, "-c", _PEAK]
    finished = benchmark.pedantic(
        subprocess.run, (words,), {"capture_output": True, "text": True, "check": True}, rounds=1
    )
    gigabytes = float(finished.stdout)
    benchmark.extra_info["peak_gb"] = gigabytes
    print(f"\npeak {gigabytes:.2f} GB")
    assert gigabytes < 1.5
