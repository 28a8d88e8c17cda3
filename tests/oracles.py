"""Problems whose answers are exact: the distance from each sample to the nearest mistake, in each norm.

Each is made once: no test changes a problem's model or images.
"""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn

Array = NDArray[np.float64]

ORDER = {"linf": np.inf, "l2": 2, "l1": 1}
"""Norms whose distances are known here; looking up another one raises."""
DUAL_ORDER = {"linf": 1, "l2": 2, "l1": np.inf}


@dataclass(frozen=True)
class Problem:
    """A model, samples that it classifies correctly, and each sample's exact distance to a mistake."""

    model: nn.Module
    x: Tensor
    y: Tensor
    distance: Tensor


class Scaled(nn.Module):
    """A model with its logits multiplied: the same decisions, so the same distances."""

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) * self.scale


@functools.cache
def linear(norm: str, *, samples: int = 20, boundary: float = 0.1, rivals: int = 1) -> Problem:
    """Linear logits of 5 classes on 4 × 4 pixels, every sample exactly `boundary` away from the nearest mistake and
    far enough from 0 and 1 for the pixels' range never to matter.

    With one rival the other classes are out of reach, so that the cross-entropy's gradient points to the boundary.
    """
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 16, generator=generator, dtype=torch.float64)
    bias = torch.zeros(5, dtype=torch.float64)
    if rivals == 1:
        weight[2:] = 0
        bias[2:] = -30
    label = torch.arange(50 * samples) % (rivals + 1)
    typical = weight[label] - weight[: rivals + 1].mean(0)
    direction = torch.sign(typical) * torch.rand(len(label), 16, generator=generator, dtype=torch.float64)
    y = (direction @ weight.T + bias).argmax(1)
    reach = _linear_distance(direction, y, weight[: rivals + 1], norm)
    # The distance is homogeneous in x − 0.5, so scaling that puts every sample where it should be.
    x = 0.5 + direction * (boundary / reach)[:, None]
    inside = ((x - 0.5).abs().amax(1) < 0.5 - 2 * boundary).nonzero().squeeze(1)[:samples]
    assert len(inside) == samples
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 5))
    with torch.no_grad():
        model[1].weight.copy_(weight)
        model[1].bias.copy_(bias - 0.5 * weight.sum(1))
    images = x[inside].to(torch.float32).view(-1, 1, 4, 4)
    return Problem(model, images, y[inside], torch.full((samples,), boundary))


def _linear_distance(centred: Tensor, y: Tensor, weight: Tensor, norm: str) -> Tensor:
    normals = weight[y][:, None, :] - weight[None]
    gaps = (normals * centred[:, None, :]).sum(2)
    dual = torch.linalg.vector_norm(normals, DUAL_ORDER[norm], dim=2)
    distances: Tensor = (gaps / dual).scatter(1, y[:, None], torch.inf).amin(1)
    return distances


@functools.cache
def linear_at_the_edge(norm: str, *, samples: int = 20) -> Problem:
    """Linear logits of 2 classes (and 3 out of reach) on pixels of which most are exactly 0 or 1, as in digits: half
    of the steps that would help leave the range. The exact distance grows the ball until the best allowed change
    crosses the boundary.
    """
    generator = torch.Generator().manual_seed(1)
    normal = torch.randn(64, generator=generator, dtype=torch.float64)
    x = (torch.randn(40 * samples, 64, generator=generator, dtype=torch.float64) * 2 + 0.5).clamp(0, 1)
    x = x.to(torch.float32).to(torch.float64)
    score = x @ normal - normal.sum() / 2
    y = (score < 0).to(torch.int64)
    distance = _distance_in_the_box(x, torch.sign(score)[:, None] * normal, score.abs(), norm)
    near = ((distance > 0.05) & (distance < {"linf": 0.3, "l2": 2, "l1": 6}[norm])).nonzero().squeeze(1)[:samples]
    assert len(near) == samples
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].weight[0].copy_(normal)
        model[1].bias.copy_(torch.tensor([-float(normal.sum()) / 2, 0, -60, -60, -60]))
    return Problem(model, x[near].to(torch.float32).view(-1, 1, 8, 8), y[near], distance[near].to(torch.float32))


def _distance_in_the_box(x: Tensor, normal: Tensor, gap: Tensor, norm: str) -> Tensor:
    """Smallest change inside [0, 1] that lowers normal · x by `gap`, by halving the size of the optimal change; in L1
    one pixel after the other, that of the steepest slope first."""
    room = torch.where(normal > 0, x, 1 - x)
    if norm == "l1":
        return torch.stack([_in_turn(*each) for each in zip(normal.abs(), room, gap, strict=True)])
    shape = {"linf": torch.ones_like(normal), "l2": normal.abs()}[norm]
    low, high = torch.zeros_like(gap), torch.full_like(gap, 1e3)
    for _ in range(100):
        size = (low + high) / 2
        enough = ((size[:, None] * shape).minimum(room) * normal.abs()).sum(1) >= gap
        low, high = torch.where(enough, low, size), torch.where(enough, size, high)
    change = (high[:, None] * shape).minimum(room)
    return torch.linalg.vector_norm(change, ORDER[norm], dim=1)


def _in_turn(slope: Tensor, room: Tensor, gap: Tensor) -> Tensor:
    moved = torch.zeros_like(gap)
    for pixel in slope.argsort(descending=True):
        move = torch.minimum(gap / slope[pixel], room[pixel])
        moved, gap = moved + move, gap - move * slope[pixel]
        if gap <= 0:
            return moved
    return moved + torch.inf


@functools.cache
def two_layer(norm: str, *, samples: int = 12, hidden: int = 8, convex: bool = False, seed: int = 0) -> Problem:
    """A ReLU network on two pixels. Its decision boundary is made of line segments, one or none per
    activation pattern and rival, and the distance to a segment has a closed form."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, hidden)
    first = np.stack([np.cos(angle), np.sin(angle)], 1)
    offset = -first @ np.full(2, 0.5) + rng.uniform(-0.3, 0.3, hidden)
    points = rng.uniform(0.05, 0.95, size=(20 * samples, 2)).astype(np.float32)
    second = rng.normal(size=(5, hidden))
    if convex:
        second = np.stack([rng.uniform(0.5, 1.5, hidden), np.zeros(hidden)])
    # Centred, so that every class has its share of the square.
    bias = -(np.maximum(points @ first.T + offset, 0) @ second.T).mean(axis=0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, len(bias)))
    with torch.no_grad():
        for tensor, value in zip(model.parameters(), (first, offset, second, bias), strict=True):
            tensor.copy_(torch.from_numpy(value))
    logits = np.maximum(points @ first.T + offset, 0) @ second.T + bias
    y = logits.argmax(1)
    segments = [*_boundary_segments(first, offset, second, bias)]
    exact = np.array([_nearest(point, int(label), segments, norm) for point, label in zip(points, y, strict=True)])
    near = np.flatnonzero((exact > 0.02) & (exact < 0.3) & ((y == 0) | (not convex)))[:samples]
    assert len(near) == samples
    return Problem(
        model,
        torch.from_numpy(points[near]).view(-1, 1, 1, 2),
        torch.from_numpy(y[near]),
        torch.from_numpy(exact[near]).to(torch.float32),
    )


@dataclass(frozen=True)
class _Segment:
    """{origin + t · along: low ≤ t ≤ high}, where the logits of two classes are equal."""

    classes: tuple[int, int]
    origin: Array
    along: Array
    low: float
    high: float


def _boundary_segments(first: Array, offset: Array, second: Array, bias: Array) -> Iterator[_Segment]:
    """Per activation pattern and pair of classes, the part of the unit square where their logits are equal."""
    for pattern in itertools.product((0.0, 1.0), repeat=len(first)):
        active = np.array(pattern)
        slopes, constants = (second * active) @ first, (second * active) @ offset + bias
        signs = 2 * active - 1
        # What holds there: inside @ p ≥ at_least, for the pattern's half planes and the square.
        inside = np.concatenate([signs[:, None] * first, np.eye(2), -np.eye(2)])
        at_least = np.concatenate([-signs * offset, np.zeros(2), -np.ones(2)])
        for classes in itertools.combinations(range(len(second)), 2):
            normal, constant = np.subtract(*slopes[[*classes]]), np.subtract(*constants[[*classes]])
            if not np.linalg.norm(normal) > 0:
                continue
            origin = -constant * normal / (normal @ normal)
            along = np.array([-normal[1], normal[0]]) / np.linalg.norm(normal)
            with np.errstate(divide="ignore"):
                bounds = (at_least - inside @ origin) / (inside @ along)
            low, high = bounds[inside @ along > 0].max(), bounds[inside @ along <= 0].min()
            if low <= high:
                yield _Segment(classes, origin, along, low, high)


def _nearest(point: Array, label: int, segments: list[_Segment], norm: str) -> float:
    """Distance from a point to the nearest place where another class's logit equals the label's."""
    return min(_distance(point, segment, norm) for segment in segments if label in segment.classes)


def _distance(point: Array, segment: _Segment, norm: str) -> float:
    offset = point - segment.origin
    # Where the norm of offset − t · along may have its minimum: its foot, the kinks of the other norms, the ends.
    rows = np.array([segment.along, [1, 0], [0, 1], [1, 1], [1, -1]])
    with np.errstate(divide="ignore", invalid="ignore"):
        places = np.append((rows @ offset) / (rows @ segment.along), [segment.low, segment.high])
    at = np.clip(places[~np.isnan(places)], segment.low, segment.high)
    moves = offset - at[:, None] * segment.along
    return float(np.linalg.norm(moves, ord=ORDER[norm], axis=1).min())


@functools.cache
def trained_digits() -> tuple[nn.Module, Tensor, Tensor]:
    """A small convolutional network trained on 1297 digits of 8 × 8, and the 500 that it has not seen."""
    digits = load_digits()
    x, y = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None], torch.tensor(digits.target)
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1, generator=generator)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(80):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x[:1297]), y[:1297]).backward()
        optimiser.step()
    optimiser.zero_grad()
    return model, x[1297:], y[1297:]
