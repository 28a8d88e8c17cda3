"""The most memory that an evaluation of images takes that memory does not hold: 50,000 of 3 × 224 × 224 under FGSM.

    python -m benchmarks.large_images --images 50000

The images are noise in bytes, 1000 of them over and over, in a file of 150 kB each (7.5 GB) in `--folder`; the labels
are what a small network says. The evaluation is one process with one thread. Pages of the file that are mapped count
to its peak.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

SHAPE, FEW = (3, 224, 224), 1000


def make() -> nn.Module:
    """A convolution of 8 channels, pooled to 14 × 14, and a linear layer."""
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 8, 7, stride=4, padding=3)
    return nn.Sequential(convolution, nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(8 * 14 * 14, 10))


def main() -> None:
    parser = argparse.ArgumentParser(description="Peak memory of an evaluation of many large images.")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--folder", type=Path, default=None, help="where the file is made; a temporary one by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        write_data(Path(place), options.images)
        words = [sys.executable, "-m", "ibrobust.evaluate", "--model", f"{Path(__file__).resolve()}:make"]
        words += ["--data", "x.npy,y.npy", "--attacks", "fgsm", "--eps", "0.001", "--samples", str(options.images)]
        began = time.perf_counter()
        subprocess.run([*words, "--workers", "1", "--threads", "1"], cwd=place, check=True)
        seconds = time.perf_counter() - began
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"peak {use.ru_maxrss * 1024 / 1e9:.2f} GB, {use.ru_utime + use.ru_stime:.0f} s of CPU, {seconds:.0f} s")


def write_data(folder: Path, images: int) -> None:
    first = np.random.default_rng(0).integers(0, 256, (FEW, *SHAPE), dtype=np.uint8)
    model = make().eval()
    with torch.no_grad():
        y = torch.cat([model(torch.from_numpy(part) / 255).argmax(1) for part in np.split(first, 10)]).numpy()
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.uint8, (images, *SHAPE))
    for start in range(0, images, FEW):
        x[start : start + FEW] = first[: images - start]
    x.flush()
    np.save(folder / "y.npy", np.resize(y, images))


if __name__ == "__main__":
    main()
