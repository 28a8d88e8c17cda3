"""One step of training beside the bare forward-backward-Adam of the same network, in CPU time.

pytest benchmarks/test_training_speed.py --benchmark-only -s
"""

import time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.training import random_images, seconds_per_epoch
from ibrobust.recipe import Recipe


@pytest.mark.parametrize(
    ("name", "shape", "steps"),
    [("mlp", (1, 28, 28), 40), ("cnn", (1, 28, 28), 6), ("resnet-small", (3, 32, 32), 3)],
)
def test_a_step_beside_the_bare_one(
    benchmark: BenchmarkFixture, name: str, shape: tuple[int, int, int], steps: int
) -> None:
    recipe = Recipe(model=name, reg="l2", gamma=1e-3, batch_size=128, epochs=8)
    data = random_images(shape, recipe.batch_size * steps)
    measured = benchmark.pedantic(seconds_per_epoch, (recipe, data), {"clock": time.process_time}, rounds=1)
    ours, bare = (1e3 * seconds / steps for seconds in measured)
    benchmark.extra_info["ratio_to_bare"] = ours / bare
    print(f"\n{name}: {ours:.2f} ms a step, bare {bare:.2f} ms, ratio {ours / bare:.2f}")
