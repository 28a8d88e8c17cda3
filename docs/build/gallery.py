"""Figures for the site, each made now by the command that stands below it."""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Picture:
    """One figure: what it shows, the command that makes it, and the file that the command writes."""

    title: str
    command: str
    file: str
    sentence: str


TRACKED = (
    "ibrobust train --reg l2 --gamma 0.1 --epochs 20 --track-information every=1 --runs tracked\n"
    "ibrobust information tracked --figures --out information"
)

PICTURES = [
    Picture(
        "Robustness against ε, MNIST",
        "ibrobust report zoo --protocol strict --data mnist --out mnist",
        "mnist/robustness.png",
        "The share of test images that survive every attack of the strict protocol, a line per released run. What an "
        "audit does not trust is dotted.",
    ),
    Picture(
        "Robustness and accuracy against information, MNIST",
        "ibrobust report zoo --protocol strict --data mnist --out mnist",
        "mnist/information.png",
        "Mean robustness and clean accuracy of the same runs against I[X;Z], with its bounds.",
    ),
    Picture(
        "Robustness against ε, digits",
        "ibrobust report zoo --protocol strict --data digits --out digits",
        "digits/robustness.png",
        "The same on scikit-learn's digits of 8 × 8 pixels.",
    ),
    Picture(
        "Your own model",
        "ibrobust evaluate --model net.py:make --data digits --samples 200 --attacks fgsm,bim,pgd,deepfool --out own",
        "own/attacks.png",
        "A model without a recipe: what each attack leaves standing, and what all of them leave. `net.py` is below.",
    ),
    Picture(
        "Information while training",
        TRACKED,
        "information/information-plane.png",
        "A run's path through the information plane, epoch by epoch: at first it learns, then it forgets.",
    ),
    Picture(
        "Where the information lies",
        TRACKED,
        "information/*/diagram.png",
        "The same run at the end of training, as an I-diagram.",
    ),
]

NET = '''"""The mean image of each class, compared by distance: a classifier in four lines."""

import torch
from ibrobust.datasets import load_dataset


class Nearest(torch.nn.Module):
    def __init__(self):
        super().__init__()
        train = load_dataset("digits").train
        x = train.x.float() / 255 if train.x.dtype == torch.uint8 else train.x
        self.register_buffer("means", torch.stack([x[train.y == label].mean(0) for label in range(10)]).flatten(1))

    def forward(self, x):
        return -10 * (x.flatten(1)[:, None] - self.means).square().sum(2)


def make():
    return Nearest()
'''


@cache
def gallery() -> dict[str, bytes]:
    """The page `gallery.md` and its pictures."""
    text = ["# Gallery", "Every picture on this page was made by the command below it when the site was built.\n"]
    files: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "net.py").write_text(NET, encoding="utf-8")
        done: set[str] = set()
        for picture in PICTURES:
            for line in picture.command.splitlines():
                if line not in done:
                    _run(line, folder)
                    done.add(line)
            text.append(f"## {picture.title}\n\n{picture.sentence}\n")
            made = sorted(folder.glob(picture.file))
            if not made:
                raise FileNotFoundError(f"{picture.file}: not written by {picture.command}")
            for path in made:
                name = f"gallery/{path.relative_to(folder).as_posix().replace('/', '-')}"
                files[name] = path.read_bytes()
                text.append(f"![{picture.title}]({name})\n")
            text.append(f"```sh\n{picture.command}\n```\n")
    text.append(f"## net.py\n\n```python\n{NET}```\n")
    return {"gallery.md": "\n".join(text).encode(), **files}


def _run(line: str, folder: Path) -> None:
    words = [sys.executable, "-m", *line.split()]
    finished = subprocess.run(words, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    if finished.returncode:
        raise RuntimeError(f"{line}\n{finished.stderr}")
