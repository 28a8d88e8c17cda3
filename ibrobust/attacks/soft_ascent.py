"""Signed ascent towards a class, its gradients through softened ReLUs: where a plain one is stuck at a kink, or on a
plateau where units are off, it sees what lies behind."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ibrobust.attacks.filling import FULL
from ibrobust.attacks.interface import Attack, Attempt
from ibrobust.attacks.losses import margin
from ibrobust.attacks.norms import Norm
from ibrobust.attacks.targets import likely_targets
from ibrobust.models.bottleneck import View
from ibrobust.models.relus import Gate, sees_relus, softened
from ibrobust.types import Images, Labels, Logits, PerSample

HARD_FROM = 0.75
"""Share of the steps after which ReLUs are as sharp backwards as forwards."""

_PIXELS_AT_ONCE = 2**23
"""Pixels of all points that climb together: memory does not grow with the samples."""
_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class Ascent:
    """How far, how often and how softly.

    Attributes:
        steps: gradients; the i-th of n steps is 1 − i/n of the first.
        first: length of the first step, in radii.
        width: of the gate at the first step (`Gate`); it shrinks to 0 over `HARD_FROM` of the steps.
        slope: the least that a ReLU lets through on the way back.
        kept: how many points of each sample go on after a tenth of the steps: those that lead most by then. On two
            adversarially trained networks the class that leads most in the end was among the first 3 of 9 then on all
            of 73 samples, and among the first 2 on 72.
    """

    steps: int
    first: float = 1.0
    width: float = 1.0
    slope: float = 0.0
    kept: int | None = None

    def gate(self, index: int) -> Gate:
        return Gate(self.width * max(0.0, 1 - index / (HARD_FROM * self.steps)), self.slope)


@dataclass(frozen=True)
class Points:
    """Points in the balls of some samples, several for each: the row of the sample that each belongs to, the class that
    it heads for, and by how much that class's logit leads over the label's there."""

    row: Int[Tensor, " points"]
    target: Int[Tensor, " points"]
    image: Images
    lead: PerSample

    def __getitem__(self, kept: Tensor) -> "Points":
        return Points(self.row[kept], self.target[kept], self.image[kept], self.lead[kept])

    def __len__(self) -> int:
        return len(self.row)


def climbed(attempt: Attempt, start: Points, ascent: Ascent) -> tuple[Points, Bool[Tensor, " samples"]]:
    """Where each point's lead was largest on its way up, and which samples stand. When one point of a sample is a
    mistake, all of that sample stop, and that point leads by more than 0.

    Batches are filled up to multiples of 16 rows: gates sum over a layer, which the measured filling knows nothing of.
    """
    best, standing = start, torch.ones(len(attempt), dtype=torch.bool, device=attempt.x.device)
    climbing = torch.arange(len(start), device=attempt.x.device)
    image = start.image
    for index in range(ascent.steps + 1):
        points = replace(start[climbing], image=image)
        last = index == ascent.steps
        logits, gradient = _answer(attempt, points, None if last else ascent.gate(index))
        pair = _pair(attempt, points)
        lead, mistake = class_lead(logits, pair), logits.argmax(1) != pair[:, 0]
        rises = lead > best.lead[climbing] if index else torch.ones_like(mistake)
        # A mistake towards another class is one all the same.
        lead = torch.where(mistake, margin(logits, pair[:, 0]).clamp(min=_TINY), lead)
        best = _with(best, climbing, image, lead, rises | mistake)
        standing[points.row[mistake]] = False
        on = standing[points.row]
        if ascent.kept is not None and index == ascent.steps // 10:
            on &= rank_in_sample(points.row, best.lead[climbing]) < ascent.kept
        if last or not on.any():
            break
        climbing, image, row = climbing[on], image[on], points.row[on]
        length = ascent.first * (1 - index / ascent.steps) * attempt.eps[row]
        stepped = attempt.norm.step(image, gradient[on], length)
        image = attempt.norm.project(stepped, attempt.x[row], attempt.eps[row])
    return best, standing


def towards(attempt: Attempt, targets: Int[Tensor, "samples targets"], start: Images) -> Points:
    """One point for each target of each sample, at the sample's start."""
    row = torch.arange(len(attempt), device=start.device).repeat_interleave(targets.shape[1])
    return Points(row, targets.flatten(), start[row], torch.full_like(attempt.eps[row], -torch.inf))


@dataclass
class Closest:
    """The image of each sample that came closest to a mistake, and its lead."""

    image: Images
    lead: PerSample

    def note(self, place: Int[Tensor, " samples"], points: Points) -> None:
        """`place` is where the answers of the samples are that the points belong to. Of several points that lead alike
        the first counts."""
        row = place[points.row]
        best = torch.full_like(self.lead, -torch.inf).scatter_reduce(0, row, points.lead, "amax")
        leading = (points.lead == best[row]).nonzero().squeeze(1)
        none = len(points)
        first = torch.full_like(self.lead, none, dtype=torch.int64)
        first = first.scatter_reduce(0, row[leading], leading, "amin")
        closer = ((first < none) & (best > self.lead)).nonzero().squeeze(1)
        self.image[closer] = points.image[first[closer]]
        self.lead[closer] = best[closer]


def nothing_closer(attempt: Attempt) -> Closest:
    """The samples themselves, before anything was found."""
    return Closest(attempt.x.clone(), torch.full_like(attempt.eps, -torch.inf))


def soft_targeted(attempt: Attempt, *, targets: int, steps: int, kept: int) -> Images:
    """One ascent from each image towards each of its `targets` most likely wrong classes, on the difference of the two
    logits, ReLUs softened at first; only the `kept` that lead most after a tenth of the steps go on. A model of which
    torch sees no ReLU is climbed plainly."""
    closest, rivals = nothing_closer(attempt), likely_targets(attempt, targets)
    everyone = torch.arange(len(attempt), device=attempt.x.device)
    for rows in torch.split(everyone, max(1, _PIXELS_AT_ONCE // max(1, targets * attempt.x[:1].numel()))):
        if len(rows):
            some = attempt[rows]
            closest.note(rows, climbed(some, towards(some, rivals[rows], some.x), Ascent(steps, kept=kept))[0])
    return closest.image


def rank_in_sample(row: Int[Tensor, " points"], lead: PerSample) -> Int[Tensor, " points"]:
    """How many points of the same sample lead more than each; of those that lead alike the first comes first."""
    order = lead.argsort(descending=True, stable=True)
    order = order[row[order].argsort(stable=True)]
    place = torch.arange(len(row), device=row.device)
    begins = torch.ones_like(row, dtype=torch.bool)
    begins[1:] = row[order].diff() != 0
    first = torch.where(begins, place, 0).cummax(0).values
    return torch.empty_like(row).index_copy(0, order, place - first)


def wrong_lead(logits: Logits, y: Labels) -> tuple[PerSample, Labels]:
    """By how much the likeliest wrong class leads over the label, and which it is."""
    wrong = logits.scatter(1, y[:, None], -torch.inf)
    return margin(logits, y), wrong.argmax(1)


def joined_points(parts: Sequence[Points], x: Images) -> Points:
    """All points of all parts; none of the shape of x where there is no part."""
    if not parts:
        nothing = torch.zeros(0, dtype=torch.int64, device=x.device)
        return Points(nothing, nothing, x[:0], x.new_zeros(0))
    return Points(*(torch.cat([getattr(part, name) for part in parts]) for name in ("row", "target", "image", "lead")))


def _answer(attempt: Attempt, points: Points, gate: Gate | None) -> tuple[Logits, Images]:
    full = replace(attempt.victim[points.row], filling=FULL)
    if gate is None:
        return full.logits(points.image), points.image
    soft = replace(full, view=softened(full.view, gate))
    return soft.loss_gradient(points.image, _pair(attempt, points), class_lead)


def _pair(attempt: Attempt, points: Points) -> Int[Tensor, "points 2"]:
    return torch.stack([attempt.y[points.row], points.target], dim=1)


def class_lead(logits: Logits, pair: Tensor) -> PerSample:
    """By how much the second class of each pair leads over the first."""
    both = logits.gather(1, pair)
    return both[:, 1] - both[:, 0]


def _with(best: Points, rows: Tensor, image: Images, lead: PerSample, better: Tensor) -> Points:
    changed = rows[better]
    return replace(
        best,
        image=best.image.index_copy(0, changed, image[better]),
        lead=best.lead.index_copy(0, changed, lead[better]),
    )


def without_gates(view: View, x: Images, _norm: Norm) -> list[str]:
    """What a model leaves of softened ReLUs."""
    return [] if sees_relus(view, x) else ["climbs plainly: torch sees no ReLU in this model"]


SOFT_T = Attack(soft_targeted, left_out=without_gates, settings={"targets": 9, "steps": 80, "kept": 3})
