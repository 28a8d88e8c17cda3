"""Parts of a ball in which some ReLUs are known to be on or off, and linear bounds optimised on many of them at once.

A domain's lower bound of the label's margin over one class is the largest that is found over the slopes of the lines
below ReLUs (α-CROWN, Xu et al. 2021) and over multipliers of what is known of its ReLUs (β-CROWN, Wang et al. 2021).
Any slopes and multipliers give bounds that hold: they are sought in float32, without roundings, and what they come to
is computed in float64 with everything that bounds here account for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ibrobust.certificates.forms import Form
from ibrobust.certificates.layers import ReLU
from ibrobust.certificates.linear_bounds import Bounds, Choice, Step

_SLOPE_STEP, _MULTIPLIER_STEP, _DECAY = 0.25, 0.25, 0.95
"""Adam's first steps, and how much shorter each next one is. Multipliers are measured in the mean coefficient of their
layer. On digits, steps of half and twice this size close as many domains within a tenth."""

_CANDIDATES = 6
"""ReLUs that are tried before a domain is cut."""


class Split(NamedTuple):
    """Entry `entry` of a value is at least 0 (on) or at most 0."""

    value: int
    entry: int
    on: bool


@dataclass(frozen=True)
class Domain:
    """The part of a ball where the splits hold.

    Attributes:
        target: the class that the label's margin is bounded over.
        lower: a lower bound of that margin.
        slopes: the best ones found, in [0, 1], by the ReLU's value; flat.
        multipliers: the best ones found, one per split.
        candidates: entries of values that are worth a split, the most promising first.
    """

    target: int
    lower: float = -torch.inf
    splits: tuple[Split, ...] = ()
    slopes: Mapping[int, Tensor] = field(default_factory=dict)
    multipliers: tuple[float, ...] = ()
    candidates: tuple[tuple[int, int], ...] = ()

    def cut(self, value: int, entry: int) -> "tuple[Domain, Domain]":
        """Both sides of an entry's 0, with the parent's slopes and multipliers."""
        one, other = (
            replace(self, splits=(*self.splits, Split(value, entry, on)), multipliers=(*self.multipliers, 0.0))
            for on in (True, False)
        )
        return one, other


@dataclass(frozen=True)
class Ball:
    """The bounds of one image's ball, in float64 and for one sample, and the image's label."""

    bounds: Bounds
    label: int

    @cached_property
    def relus(self) -> dict[int, int]:
        """What each ReLU is applied to, by the ReLU's value."""
        steps = enumerate(self.bounds.network, 1)
        return {value: step.inputs[0] for value, step in steps if isinstance(step.layer, ReLU)}

    @cached_property
    def rough(self) -> Bounds:
        """The same in float32 without roundings: quick, and good enough to find slopes by."""
        box = [(low.float(), high.float()) for low, high in self.bounds.box]
        return Bounds(tuple(map(_in_float32, self.bounds.network)), box, [None] * len(box))

    def undecided(self, value: int) -> Tensor:
        """Which entries of a value may be on both sides of 0; flat."""
        low, high = self.bounds.box[value]
        return ((low < 0) & (high > 0)).flatten()

    def usual_slopes(self, relu: int) -> Tensor:
        """Slopes of the lines below a ReLU that leave the smallest areas; flat."""
        low, high = self.bounds.box[self.relus[relu]]
        return (high > -low).float().flatten()


class Bounded(NamedTuple):
    """Domains with their bounds, and for each the corner of the ball where its bound is reached."""

    domains: list[Domain]
    corners: Tensor


def bounded(ball: Ball, domains: Sequence[Domain], *, steps: int, enough: float) -> Bounded:
    """The domains with the best bounds that so many steps find; the steps end once all are above `enough`."""
    batch = _Batch(ball, domains)
    _optimise(batch, steps, enough)
    with torch.no_grad():
        whole = batch.bounds(ball.bounds, torch.float64)
        form = whole.carried_back(batch.margins(torch.float64), len(whole.network))[0]
        low, high = whole.box[0]
        lower = form.lower(low, high)[:, 0].nan_to_num(-torch.inf, torch.inf, -torch.inf)
        corners = torch.where(form.coefficients[:, 0] > 0, low, high)
        candidates = _candidates(batch, whole)
    found = zip(domains, lower.tolist(), candidates, batch.found(), strict=True)
    return Bounded(
        [
            replace(domain, lower=bound, candidates=those, slopes=slopes, multipliers=multipliers)
            for domain, bound, those, (slopes, multipliers) in found
        ],
        corners,
    )


def better_cuts(ball: Ball, domains: Sequence[Domain]) -> list[tuple[Domain, Domain]]:
    """Each domain cut at that of its candidates whose two sides have the largest bounds as they stand."""
    tried = [[domain.cut(*candidate) for candidate in domain.candidates] for domain in domains]
    batch = _Batch(ball, [side for pairs in tried for pair in pairs for side in pair])
    with torch.no_grad():
        rough = batch.bounds(ball.rough, torch.float32)
        lower = rough.back(batch.margins(torch.float32), len(rough.network))[:, 0]
    gains = iter(lower.clamp(max=0).view(-1, 2).sum(1).tolist())  # A side that is closed is no more than closed.
    chosen = []
    for pairs in tried:
        gain_of = [next(gains) for _ in pairs]
        chosen.append(pairs[max(range(len(pairs)), key=lambda place: (gain_of[place], -place))])
    return chosen


class _Splits(NamedTuple):
    """The splits of one value in a batch, a number each."""

    row: Tensor
    place: Tensor
    entry: Tensor
    on: Tensor


class _Batch:
    """Several domains of a ball, and their slopes and multipliers as tensors that are optimised.

    Attributes:
        slopes: (domains, entries) by the ReLU's value.
        multipliers: (domains, splits); 0 where a domain has fewer splits than others.
    """

    def __init__(self, ball: Ball, domains: Sequence[Domain]) -> None:
        device = ball.bounds.box[0][0].device
        self.ball, self.domains = ball, domains
        self.slopes = {
            relu: torch.stack(
                [domain.slopes[relu].float() if domain.slopes else ball.usual_slopes(relu) for domain in domains]
            )
            for relu in ball.relus
        }
        most = max(len(domain.splits) for domain in domains)
        rows = [[*domain.multipliers, *[0.0] * (most - len(domain.multipliers))] for domain in domains]
        self.multipliers = torch.tensor(rows, dtype=torch.float32, device=device).view(len(domains), most)
        found: dict[int, list[tuple[int, int, int, bool]]] = {}
        for row, domain in enumerate(domains):
            for place, split in enumerate(domain.splits):
                found.setdefault(split.value, []).append((row, place, split.entry, split.on))
        self._splits = {
            value: _Splits(*(torch.tensor(column, device=device) for column in zip(*those, strict=True)))
            for value, those in found.items()
        }

    def bounds(self, base: Bounds, dtype: torch.dtype) -> Bounds:
        """The ball's bounds as rows, one for each domain, with the splits and the choice as it is now."""
        count = len(self.domains)
        box = [(low.expand(count, *low.shape[1:]), high.expand(count, *high.shape[1:])) for low, high in base.box]
        for value, (row, _, entry, on) in self._splits.items():
            shape = box[value][0].shape
            low, high = (bound.flatten(1).clone() for bound in box[value])
            low[row[on], entry[on]] = low[row[on], entry[on]].clamp(min=0)
            high[row[~on], entry[~on]] = high[row[~on], entry[~on]].clamp(max=0)
            box[value] = low.view(shape), high.view(shape)
        return Bounds(base.network, box, base.rounding, choice=self.choice(dtype), seen={})

    def choice(self, dtype: torch.dtype) -> Choice:
        """What bounds take. f ≥ f − β z for β ≥ 0 where z ≥ 0, and f ≥ f + β z where z ≤ 0."""
        boxes, count = self.ball.bounds.box, len(self.domains)
        multipliers = {}
        for value, (row, place, entry, on) in self._splits.items():
            shape = boxes[value][0].shape[1:]
            flat = torch.zeros(count, shape.numel(), dtype=dtype, device=row.device)
            signed = self.multipliers[row, place].to(dtype) * torch.where(on, -1.0, 1.0)
            multipliers[value] = flat.index_put((row, entry), signed).view(count, *shape)
        slopes = {relu: slope.to(dtype).view(count, *boxes[relu][0].shape[1:]) for relu, slope in self.slopes.items()}
        return Choice(slopes, multipliers)

    def margins(self, dtype: torch.dtype) -> Form:
        """The label's margin over each domain's class, as a form of the logits."""
        low = self.ball.bounds.box[-1][0]
        coefficients = torch.zeros(len(self.domains), 1, *low.shape[1:], dtype=dtype, device=low.device)
        coefficients[:, 0, self.ball.label] = 1
        targets = torch.tensor([domain.target for domain in self.domains], device=low.device)
        coefficients[torch.arange(len(targets), device=low.device), 0, targets] -= 1
        return Form(coefficients, coefficients.new_zeros(len(self.domains), 1), None)

    def found(self) -> list[tuple[dict[int, Tensor], tuple[float, ...]]]:
        """Each domain's slopes and multipliers, as `Domain` keeps them."""
        return [
            ({relu: slope[row].half() for relu, slope in self.slopes.items()}, tuple(values[: len(domain.splits)]))
            for row, (domain, values) in enumerate(zip(self.domains, self.multipliers.tolist(), strict=True))
        ]


def _optimise(batch: _Batch, steps: int, enough: float) -> None:
    """Leaves the best slopes and multipliers that Adam comes across in the batch."""
    leaves = [leaf.requires_grad_() for leaf in (*batch.slopes.values(), batch.multipliers)]
    best = [leaf.detach().clone() for leaf in leaves]
    best_lower = torch.full((len(batch.domains),), -torch.inf, device=batch.multipliers.device)
    with torch.no_grad():
        rough = batch.bounds(batch.ball.rough, torch.float32)
    margins, optimizer = batch.margins(torch.float32), None
    for step in range(steps + 1):
        with torch.enable_grad():
            lower = replace(rough, choice=batch.choice(torch.float32)).back(margins, len(rough.network))[:, 0]
        better = lower.detach() > best_lower
        best_lower = torch.where(better, lower.detach(), best_lower)
        best = [torch.where(better[:, None], leaf.detach(), kept) for leaf, kept in zip(leaves, best, strict=True)]
        if step == steps or not lower.requires_grad or bool((best_lower > enough).all()):
            break
        if optimizer is None:
            optimizer = _optimizer(batch, rough)
        raise_bounds(optimizer, lower, batch.slopes, _DECAY)
        with torch.no_grad():
            batch.multipliers.clamp_(min=0)
    batch.slopes = dict(zip(batch.slopes, best[:-1], strict=True))
    batch.multipliers = best[-1]


def raise_bounds(optimizer: torch.optim.Optimizer, lower: Tensor, slopes: Mapping[int, Tensor], decay: float) -> None:
    """One step of the optimiser towards larger bounds; its next step is shorter, and slopes stay in [0, 1]."""
    optimizer.zero_grad()
    (-lower.sum()).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    for group in optimizer.param_groups:
        group["lr"] *= decay
    with torch.no_grad():
        for slope in slopes.values():
            slope.clamp_(0, 1)


def _optimizer(batch: _Batch, rough: Bounds) -> torch.optim.Optimizer:
    """Steps of multipliers are measured in the mean coefficient of what undecided ReLUs compute."""
    undecided = {relu: batch.ball.undecided(source) for relu, source in batch.ball.relus.items()}
    seen = rough.seen or {}
    sizes = [size.detach().abs().flatten(1)[:, undecided[relu]].flatten() for relu, size in seen.items()]
    counted = torch.cat(sizes) if sizes else torch.zeros(0)
    scale = float(counted.mean()) if counted.numel() else 1.0
    groups = [{"params": [*batch.slopes.values()], "lr": _SLOPE_STEP}]
    if batch.multipliers.numel():
        groups.append({"params": [batch.multipliers], "lr": _MULTIPLIER_STEP * scale})
    return torch.optim.Adam([group for group in groups if group["params"]])


def _candidates(batch: _Batch, whole: Bounds) -> list[tuple[tuple[int, int], ...]]:
    """For each domain the entries whose ReLU's two lines cost its bound the most."""
    scores: dict[int, Tensor] = {}
    for relu, coefficients in (whole.seen or {}).items():
        source = batch.ball.relus[relu]
        low, high = (bound.flatten(1) for bound in whole.box[source])
        flat, slope = coefficients[:, 0].flatten(1), batch.slopes[relu].to(low.dtype)
        above = -flat.clamp(max=0) * (-low * high / (high - low).clamp(min=1e-300))
        below = flat.clamp(min=0) * torch.minimum((1 - slope) * high + slope * -low, torch.minimum(high, -low))
        score = torch.where((low < 0) & (high > 0), above + below, torch.zeros_like(low))
        scores[source] = scores[source] + score if source in scores else score
    if not scores:
        return [()] * len(batch.domains)
    names = [(source, entry) for source, score in scores.items() for entry in range(score.shape[1])]
    together = torch.cat(list(scores.values()), 1)
    top, places = together.topk(min(_CANDIDATES, together.shape[1]), dim=1)
    return [
        tuple(names[place] for score, place in zip(row, where, strict=True) if score > 0)
        for row, where in zip(top.tolist(), places.tolist(), strict=True)
    ]


def _in_float32(step: Step) -> Step:
    layer = step.layer
    tensors = {name.name: getattr(layer, name.name) for name in fields(layer)}  # type: ignore[arg-type]
    changed = {name: tensor.detach().float() for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
    return replace(step, layer=replace(layer, **changed)) if changed else step  # type: ignore[type-var]
