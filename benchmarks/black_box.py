"""`python -m benchmarks.black_box`: the attack that sees decisions alone, beside HopSkipJump of foolbox and ART.

Each is given the same images and its queries are counted one by one, wherever they come from. What counts is the
nearest misclassified image among all that it asked about. Median distance over the samples at so many queries.

`--weights FOLDER` attacks the adversarially trained victims whose weights lie there, or are kept there, instead of
plainly trained ones.

`--oracles` prints how much further than the exact distance it ends where that is known: linear logits, one rival class
or four, and samples at the ends of the range.
"""

import argparse
import contextlib
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.victims import adversarially_trained, benchmark_data, trained_victim
from ibrobust.attacks import ATTACKS, NORMS, Attempt, victim
from ibrobust.datasets import Dataset, Split
from ibrobust.images import as_images, frozen
from ibrobust.models.bottleneck import view
from ibrobust.randomness import sample_draw
from ibrobust.types import Images, Labels
from tests.oracles import linear, linear_at_the_edge

QUERIES = (1000, 5000)
_NORMS = {"linf": np.inf, "l2": 2}


class Enough(Exception):
    """The budget is spent."""


class Recorder(nn.Module):
    """A model that remembers how near the nearest misclassified image of each sample was after so many queries.

    It is asked about all samples at once, in their order, any number of times over.
    """

    def __init__(self, model: nn.Module, x: Images, y: Labels, norm: str, queries: Sequence[int]) -> None:
        super().__init__()
        self.model, self.x, self.y, self.distance = model, x, y, NORMS[norm].distance
        self.asked, self.best = 0, torch.full((len(x),), torch.inf, dtype=torch.float64)
        self.queries, self.after = queries, dict[int, Tensor]()

    def forward(self, images: Images) -> Tensor:
        images = images.float()  # ART asks in float64.
        logits: Tensor = self.model(images)
        times = len(images) // len(self.x)
        assert times * len(self.x) == len(images), "asked about some of the samples"
        wrong = (logits.argmax(1) != self.y.repeat(times)).view(times, -1)
        inside = ((images >= -1e-6) & (images <= 1 + 1e-6)).flatten(1).all(1).view(times, -1)
        apart = self.distance(images, self.x.repeat(times, 1, 1, 1)).view(times, -1)
        for distance in torch.where(wrong & inside, apart, torch.inf):
            self.asked, self.best = self.asked + 1, torch.minimum(self.best, distance)
            if self.asked in self.queries:
                self.after[self.asked] = self.best
            if self.asked == max(self.queries):
                raise Enough
        return logits


def ours(model: nn.Module, x: Images, y: Labels, norm: str, queries: Sequence[int]) -> dict[int, Tensor]:
    """Its budget is a setting, so that it is run once for each."""
    found = {}
    for count in queries:
        draw = sample_draw(0, torch.arange(len(x)))
        asked = victim(view(model, "mean"), draw, batch_size=256)
        attempt = Attempt(asked, x, y, torch.full((len(x),), torch.inf), draw, NORMS[norm])
        images = ATTACKS["decision"].with_settings({"queries": count}).images(attempt)
        assert asked.queries.forward <= count * len(x)
        wrong = model(images).argmax(1) != y
        found[count] = torch.where(wrong, NORMS[norm].distance(images, x), torch.inf)
    return found


def foolbox(model: nn.Module, x: Images, y: Labels, norm: str, queries: Sequence[int]) -> dict[int, Tensor]:
    from foolbox import PyTorchModel
    from foolbox.attacks import HopSkipJumpAttack, LinearSearchBlendedUniformNoiseAttack

    recorder = Recorder(model, x, y, norm, queries).eval()
    attack = HopSkipJumpAttack(constraint=norm, steps=1000, init_attack=LinearSearchBlendedUniformNoiseAttack(steps=50))
    torch.manual_seed(0)
    np.random.seed(0)
    with contextlib.suppress(Enough):
        attack.run(PyTorchModel(recorder, bounds=(0, 1), device="cpu"), x, y)
    return recorder.after


def art(model: nn.Module, x: Images, y: Labels, norm: str, queries: Sequence[int]) -> dict[int, Tensor]:
    """It works on one sample after the other."""
    from art.attacks.evasion import HopSkipJump
    from art.estimators.classification import PyTorchClassifier

    rows: list[dict[int, Tensor]] = []
    np.random.seed(0)
    for index in range(len(x)):
        recorder = Recorder(model, x[index : index + 1], y[index : index + 1], norm, queries).eval()
        classifier = PyTorchClassifier(
            recorder, loss=nn.CrossEntropyLoss(), input_shape=tuple(x.shape[1:]), nb_classes=10,
            clip_values=(0.0, 1.0), device_type="cpu",
        )  # fmt: skip
        attack = HopSkipJump(classifier, norm=_NORMS[norm], max_iter=1000, max_eval=10_000, verbose=False)
        with contextlib.suppress(Enough):
            attack.generate(x[index : index + 1].numpy(), y=y[index : index + 1].numpy())
        last = recorder.best
        rows.append({count: recorder.after.get(count, last) for count in queries})
    return {count: torch.cat([row[count] for row in rows]) for count in queries}


PEERS: dict[str, Callable[..., dict[int, Tensor]]] = {"ours": ours, "foolbox": foolbox, "ART": art}


def right_ones(model: nn.Module, test: Split, count: int) -> tuple[Images, Labels]:
    """The first samples that the model gets right."""
    x, y = as_images(test.x[: 4 * count]), test.y[: 4 * count]
    right = model(x).argmax(1) == y
    return x[right][:count], y[right][:count]


def print_oracles(count: int) -> None:
    """The largest distance and the median one by the exact one, less 1."""
    problems = {
        "one rival": linear,
        "at the range's ends": linear_at_the_edge,
        "four rivals": partial(linear, rivals=4),
    }
    print("| boundary | norm | median excess | largest excess |\n|---|---|---|---|")
    for name, make in problems.items():
        for norm in _NORMS:
            problem = make(norm, samples=count)
            model = problem.model.eval()
            with frozen(model), torch.no_grad():
                found = ours(model, problem.x, problem.y, norm, QUERIES[-1:])[QUERIES[-1]]
            excess = found / problem.distance - 1
            print(f"| {name} | {norm} | {float(excess.median()):.1%} | {float(excess.max()):.1%} |", flush=True)


def _victims(data: Dataset, digits: Dataset, weights: Path | None) -> dict[str, tuple[Callable[[], nn.Module], Split]]:
    trained = partial(adversarially_trained, eps=0.0, steps=300)
    large = {"LeNet": "lenet", "strided": "strided", "residual": "residual"}
    kept = partial(trained_victim, weights=weights, data=data)
    return {
        "8 × 8 digits, strided": (partial(trained, "strided", digits), digits.test),
        **{
            title: (partial(kept, name) if weights else partial(trained, name, data), data.test)
            for title, name in large.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--victims", nargs="*", default=None)
    parser.add_argument("--peers", nargs="*", default=list(PEERS))
    parser.add_argument("--oracles", action="store_true")
    parser.add_argument("--weights", type=Path, help="folder of the weights of adversarially trained victims")
    parser.add_argument("--queries", type=int, nargs="+", default=QUERIES)
    parser.add_argument("--norms", nargs="*", default=list(_NORMS))
    options = parser.parse_args()
    if options.oracles:
        print_oracles(options.samples)
        return
    warnings.simplefilter("ignore")
    victims = _victims(benchmark_data(), benchmark_data("digits"), options.weights)
    columns = " | ".join(f"{count} queries" for count in options.queries)
    print(f"| victim | norm | attack | {columns} |\n|---|---|---|{'---|' * len(options.queries)}")
    for name, (make, test) in victims.items():
        if options.victims and name not in options.victims:
            continue
        model = make().eval()
        with frozen(model), torch.no_grad():
            x, y = right_ones(model, test, options.samples)
            for norm in options.norms:
                for peer in options.peers:
                    after = PEERS[peer](model, x, y, norm, options.queries)
                    medians = " | ".join(f"{float(after[count].median()):.4f}" for count in options.queries)
                    print(f"| {name} | {norm} | {peer} | {medians} |", flush=True)


if __name__ == "__main__":
    main()
