"""Training beside the bare loop: forward, backward and Adam of the same network.

python -m benchmarks.training --model resnet18v2 --precision bfloat16 --device cuda
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy

from ibrobust.commands.command_line import torch_device
from ibrobust.datasets import Dataset, Split
from ibrobust.learning.training import train, untrained_model
from ibrobust.models.stochastic import learning
from ibrobust.recipe import Recipe


def random_images(shape: tuple[int, int, int], count: int) -> Dataset:
    """Noise, with labels in turn: what matters here is the size."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (count, *shape), generator=generator, dtype=torch.uint8)
    split = Split(x, torch.arange(len(x)) % 10)
    return Dataset("random", split, split[:1], 10)


def bare_epoch(recipe: Recipe, data: Dataset, device: str = "cpu") -> Callable[[], None]:
    """Slices of ready float images, cross-entropy, Adam: no shuffle, no noise, no regulariser, no record."""
    model = untrained_model(recipe, data).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    x_N, y_N = data.train.x.to(device) / 255, data.train.y.to(device)
    batches = list(zip(x_N.split(recipe.batch_size), y_N.split(recipe.batch_size), strict=True))
    reduced = recipe.precision == "bfloat16"

    def epoch() -> None:
        for x, y in batches:
            with learning(), torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=reduced):
                loss = cross_entropy(model.decoder(model.encoder((x - model.pixel_mean) / model.pixel_std)), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def seconds_per_epoch(
    recipe: Recipe, data: Dataset, *, device: str = "cpu", clock: Callable[[], float]
) -> tuple[float, float]:
    """(`train`'s, the bare loop's): alternating epochs after the first, the best of each, so that what else the machine
    does touches neither."""
    bare = bare_epoch(recipe, data, device)
    bare()
    ends, starts, bare_times = [], [], []

    def between_epochs(_epoch: int, _row: dict[str, float | int]) -> None:
        ends.append(clock())
        bare()
        starts.append(clock())
        bare_times.append(starts[-1] - ends[-1])

    train(recipe, data, device=device, progress=between_epochs)
    return min(end - start for start, end in zip(starts[:-1], ends[1:], strict=True)), min(bare_times)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--model", default="resnet18v2")
    parser.add_argument("--shape", type=int, nargs=3, default=[3, 32, 32], metavar=("C", "H", "W"))
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--epochs", type=int, default=4, help="the first is a rehearsal")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = torch_device(options.device, None)
    recipe = Recipe(
        model=options.model,
        reg="l2",
        gamma=1e-3,
        augment="crop-flip",
        batch_size=options.batch_size,
        precision=options.precision,
        epochs=options.epochs,
    )
    on_gpu = torch.device(device).type == "cuda"

    def clock() -> float:
        if on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter()

    images = options.images // options.batch_size * options.batch_size
    ours, bare = seconds_per_epoch(recipe, random_images(tuple(options.shape), images), device=device, clock=clock)
    print(
        f"{options.model}, {options.precision}, batches of {options.batch_size}, {images} images of"
        f" {' × '.join(map(str, options.shape))}, torch {torch.__version__},"
        f" {torch.cuda.get_device_name() if on_gpu else f'CPU, {torch.get_num_threads()} threads'}"
    )
    print(f"{ours:.2f} s per epoch, the bare loop {bare:.2f} s: {ours / bare:.2f} times")
    if on_gpu:
        print(f"peak memory {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB, both loops' models and data in it")


if __name__ == "__main__":
    main()
