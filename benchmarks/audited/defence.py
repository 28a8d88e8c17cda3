"""What a defence is here: a model, and all that somebody who has read it would climb instead."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ibrobust.datasets import Dataset, load_dataset

Function = Callable[[Tensor], Tensor]


class Defended(nn.Module):
    """A model that answers by a function of its parts."""

    def __init__(self, answer: Function, *parts: nn.Module) -> None:
        super().__init__()
        self.parts, self.answer = nn.ModuleList(parts), answer

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(x)


@dataclass(frozen=True)
class Defence:
    """One model of the table.

    Attributes:
        model: what claims are about.
        stand_ins: what an adaptive attack climbs, each in turn; its images count where the model itself is wrong.
        noisy: whether its answer differs from pass to pass.
        view: how that noise is scored.
        moves: (x, y, eps) → further images in the ball that somebody who knows the construction would try.
        exact: (x, y, eps) → whether each sample is robust, where that can be computed.
    """

    model: nn.Module
    stand_ins: Sequence[Function] = ()
    noisy: bool = False
    view: str = "mean"
    moves: Callable[[Tensor, Tensor, float], list[Tensor]] | None = None
    exact: Callable[[Tensor, Tensor, float], Tensor] | None = None


@dataclass
class Trained:
    """Digits, and networks trained on them, each once.

    Attributes:
        train_x, train_y: training images in [0, 1] and labels.
    """

    seed: int = 0
    _models: dict[str, nn.Module] = field(default_factory=dict)
    _data: Dataset = field(default_factory=lambda: load_dataset("digits"))

    @property
    def train_x(self) -> Tensor:
        return self._data.train.x

    @property
    def train_y(self) -> Tensor:
        return self._data.train.y

    def test(self, samples: int) -> tuple[Tensor, Tensor]:
        """The last test images: no two kinds of models are told apart by those that anybody looks at first."""
        return self._data.test.x[-samples:].clone(), self._data.test.y[-samples:].clone()

    def mlp(self, seed: int = 0) -> nn.Module:
        """64-64-32-10 with ReLUs, as most of the table is built on."""
        return self.once(f"mlp {seed}", lambda: learned(self, network(nn.ReLU, self.seed + seed)))

    def once(self, name: str, make: Callable[[], nn.Module]) -> nn.Module:
        if name not in self._models:
            self._models[name] = make().eval().requires_grad_(False)
        return self._models[name]


def network(activation: Callable[[], nn.Module], seed: int, *, inputs: int = 64) -> nn.Sequential:
    """Three linear layers, the activation after the first two; its own weights by the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(inputs, 64), activation(), nn.Linear(64, 32), activation(), nn.Linear(32, 10)
        )


def learned(
    trained: Trained,
    model: nn.Module,
    *,
    epochs: int = 15,
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor] | None = None,
    weight_decay: float = 0.0,
) -> nn.Module:
    """Adam on batches of 128; the loss is of a model, images and labels, cross-entropy by default."""
    loss = loss or (lambda model, x, y: F.cross_entropy(model(x), y))
    optimizer = torch.optim.AdamW(model.parameters(), 6e-3, weight_decay=weight_decay)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trained.seed)
        for _ in range(epochs):
            for rows in torch.randperm(len(trained.train_x)).split(128):
                optimizer.zero_grad()
                loss(model, trained.train_x[rows], trained.train_y[rows]).backward()
                optimizer.step()
    return model


def passed(hard: Tensor, soft: Tensor) -> Tensor:
    """The hard values, with the gradient of the soft ones."""
    return soft + (hard - soft).detach()
