"""Auto-PGD (Croce & Hein 2020): gradient ascent with momentum whose step size halves where it stops helping."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from ibrobust.attacks.interface import Attack, Attempt
from ibrobust.attacks.losses import cross_entropy, dlr, margin, targeted_dlr
from ibrobust.attacks.norms import wide
from ibrobust.attacks.restarts import Answers, together
from ibrobust.attacks.targets import likely_targets
from ibrobust.attacks.victim import Loss
from ibrobust.randomness import Draw
from ibrobust.registry import Registry
from ibrobust.types import Images, PerSample

LOSSES: Registry[Loss] = Registry("loss")
LOSSES["cross-entropy"] = cross_entropy
LOSSES["dlr"] = dlr

SPARSE_EVERY = 0.04
"""Share of the steps after which a sparse climb looks at its step and at how many pixels it moves."""
SPARSE_SHARE = 0.2
"""Share of the pixels that the first sparse steps move; later ones, two thirds of as many as the best point moved."""
SPARSE_SHRINK, SPARSE_LEAST = 1.5, 10.0
"""By what a sparse step is divided where the best point moves as many pixels as before, and by how much at most."""

MOMENTUM = 0.75
"""Share of the new step in each move after the first; the rest repeats the last move."""
ENOUGH_RISES = 0.75
"""The step is halved at a checkpoint where the loss rose in no more than this share of the steps since the last."""


def apgd(attempt: Attempt, *, loss: str, steps: int, restarts: int) -> Images:
    """APGD from `restarts` random starts, each on the samples that still stand."""
    starts = [(attempt.draw.fold(restart), attempt.y) for restart in range(restarts)]
    return _climbed_in_turn(attempt, starts, LOSSES[loss], steps)


def apgd_targeted(attempt: Attempt, *, targets: int, steps: int, restarts: int) -> Images:
    """APGD on the targeted DLR loss towards each of the `targets` most likely wrong classes in turn."""
    rivals = likely_targets(attempt, targets)
    starts = [
        (attempt.draw.fold(f"target {rank}").fold(restart), torch.stack([attempt.y, rivals[:, rank]], dim=1))
        for rank in range(rivals.shape[1])
        for restart in range(restarts)
    ]
    return _climbed_in_turn(attempt, starts, _targeted_dlr, steps)


def _targeted_dlr(logits: Tensor, label_and_target: Tensor) -> Tensor:
    return targeted_dlr(logits, label_and_target[:, 0], label_and_target[:, 1])


def _climbed_in_turn(attempt: Attempt, starts: Sequence[tuple[Draw, Tensor]], loss: Loss, steps: int) -> Images:
    """One climb per start (random numbers, and what the loss needs of each sample), on the samples that all before it
    left. Of few samples several climbs share a batch; what they find, and what is counted, is the same."""
    answers = Answers(attempt.x)
    while len(starts) and len(answers.left):
        # Noise is drawn in the order of the queries.
        count = 1 if attempt.victim.view.draws else together(len(answers.left))
        some, starts = starts[:count], starts[count:]
        left = answers.left
        draw = Draw(torch.cat([draw.keys[left] for draw, _ in some]))
        again = attempt[left.repeat(len(some))].with_draw(draw)
        climb = _Climb(again, torch.cat([aim[left] for _, aim in some]), loss, len(left))
        found, reached, standing = climb.result(again.random_start(), steps)
        on = torch.ones_like(left, dtype=torch.bool)
        for rows in torch.arange(len(again), device=left.device).view(len(some), -1):
            answers.note(found[rows[on]], reached[rows[on]], standing[rows[on]])
            on &= standing[rows]
    return answers.x_adv


@dataclass(frozen=True)
class _Climb:
    """What stays as it is while its samples climb: `aim` is what the loss needs of each beside its logits. After each
    `samples` rows the same samples follow again, for their next climb."""

    attempt: Attempt
    aim: Tensor
    loss: Loss
    samples: int

    def __getitem__(self, kept: Bool[Tensor, " batch"]) -> "_Climb":
        return _Climb(self.attempt[kept], self.aim[kept], self.loss, self.samples)

    @property
    def sparse(self) -> bool:
        """Whether a step moves few pixels in this norm."""
        return self.attempt.norm.sparse_ascent is not None

    def result(self, start: Images, steps: int) -> tuple[Images, PerSample, Bool[Tensor, " batch"]]:
        """The image that was misclassified or else has the largest loss, its margin, and which rows still stand; rows
        behind one of the same sample that fell are given up, and their queries count as filling."""
        x_adv, reached = start.clone(), torch.empty_like(self.attempt.eps)
        unbroken = torch.zeros(len(start), dtype=torch.bool, device=start.device)
        checkpoints = _even_checkpoints(steps) if self.sparse else _checkpoints(steps)
        last_checkpoint = 0
        climb, left = self, torch.arange(len(start), device=start.device)
        state, standing = self._first(start)
        fell, queried = torch.full_like(left[: self.samples], len(left)), torch.ones_like(left)
        for index in range(steps):
            if not standing.all():
                x_adv[left], reached[left] = state.x_adv, state.best_margin
                fell.scatter_reduce_(0, left[~standing] % self.samples, left[~standing], "amin")
                on = standing & (left < fell[left % self.samples])
                climb, state, left, standing = climb[on], state[on], left[on], standing[on]
            if not len(left):
                break
            if index in checkpoints:
                state = climb._checked(state, index - last_checkpoint)
                last_checkpoint = index
            state, standing = climb._moved(state, 1.0 if index == 0 else MOMENTUM)
            queried[left] += 1
        x_adv[left], reached[left] = torch.where(wide(standing), state.best_x, state.x_adv), state.best_margin
        unbroken[left] = standing
        fell.scatter_reduce_(0, left[~standing] % self.samples, left[~standing], "amin")
        everyone = torch.arange(len(start), device=start.device)
        self.attempt.victim.queries.not_needed(gradient=int(queried[everyone > fell[everyone % self.samples]].sum()))
        return x_adv, reached, unbroken

    def _first(self, start: Images) -> tuple["_State", Bool[Tensor, " batch"]]:
        logits, gradient = self.attempt.victim.loss_gradient(start, self.aim, self.loss)
        loss = self.loss(logits, self.aim)
        nothing = torch.zeros_like(loss)
        state = _State(
            x_adv=start,
            last_x=start,
            gradient=gradient,
            loss=loss,
            best_x=start,
            best_gradient=gradient,
            best_loss=loss,
            best_margin=margin(logits, self.attempt.y),
            step=self.attempt.eps if self.sparse else 2 * self.attempt.eps,
            rises=nothing,
            checked_loss=loss,
            halved=nothing > 0,
            share=torch.full_like(loss, SPARSE_SHARE),
            spread=torch.ones_like(loss),
        )
        return state, logits.argmax(1) == self.attempt.y

    def _stepped(self, state: "_State", momentum: float) -> Images:
        norm, projected = self.attempt.norm, self.attempt.projected
        if norm.sparse_ascent is not None:
            # Without momentum, which would fill in what was sparse; a pixel at its end of the range stays out.
            stuck = torch.where(state.gradient > 0, state.x_adv >= 1, state.x_adv <= 0)
            direction = norm.sparse_ascent(torch.where(stuck, 0, state.gradient), state.share)
            return projected(state.x_adv + wide(state.step) * direction)
        stepped = projected(norm.step(state.x_adv, state.gradient, state.step))
        carried = momentum * (stepped - state.x_adv) + (1 - momentum) * (state.x_adv - state.last_x)
        return projected(state.x_adv + carried)

    def _checked(self, state: "_State", since: int) -> "_State":
        return _sparser(state, self.attempt) if self.sparse else _checked(state, since)

    def _moved(self, state: "_State", momentum: float) -> tuple["_State", Bool[Tensor, " left"]]:
        x_adv = self._stepped(state, momentum)
        logits, gradient = self.attempt.victim.loss_gradient(x_adv, self.aim, self.loss)
        loss = self.loss(logits, self.aim)
        better = loss > state.best_loss
        moved = replace(
            state,
            x_adv=x_adv,
            last_x=state.x_adv,
            gradient=gradient,
            loss=loss,
            best_x=torch.where(wide(better), x_adv, state.best_x),
            best_gradient=torch.where(wide(better), gradient, state.best_gradient),
            best_loss=torch.where(better, loss, state.best_loss),
            best_margin=torch.where(better, margin(logits, self.attempt.y), state.best_margin),
            rises=state.rises + (loss > state.loss).to(loss.dtype),
        )
        return moved, logits.argmax(1) == self.attempt.y


@dataclass(frozen=True)
class _State:
    """Where each sample that still stands is on its climb. A sparse step moves a `share` of the pixels; the best point
    moved a share `spread` of them at the last checkpoint."""

    x_adv: Images
    last_x: Images
    gradient: Images
    loss: PerSample
    best_x: Images
    best_gradient: Images
    best_loss: PerSample
    best_margin: PerSample
    step: PerSample
    rises: PerSample
    checked_loss: PerSample
    halved: Bool[Tensor, " left"]
    share: PerSample
    spread: PerSample

    def __getitem__(self, kept: Bool[Tensor, " left"]) -> "_State":
        return _State(**{field.name: getattr(self, field.name)[kept] for field in fields(self)})


def _checkpoints(steps: int) -> set[int]:
    """Steps after which the step size is looked at: the first after 22 % of the budget, the gaps shrinking by 3 %
    down to 6 %."""
    gap, shrink, smallest = (max(int(share * steps), 1) for share in (0.22, 0.03, 0.06))
    found, at = set(), gap
    while at <= steps:
        found.add(at)
        gap = max(gap - shrink, smallest)
        at += gap
    return found


def _even_checkpoints(steps: int) -> set[int]:
    return set(range(0, steps, max(int(SPARSE_EVERY * steps), 1))) - {0}


def _sparser(state: _State, attempt: Attempt) -> _State:
    """Croce & Hein 2021: where the best point moves fewer pixels than before, go back to it with the full step;
    elsewhere shorten the step. The next steps move two thirds of as many pixels as the best point does; of as many
    as the last ones, where those have not bettered it (on few pixels it may stay at two for ever)."""
    spread = (state.best_x != attempt.x).flatten(1).float().mean(1)
    fewer, eps = spread < 0.95 * state.spread, attempt.eps
    return replace(
        state,
        x_adv=torch.where(wide(fewer), state.best_x, state.x_adv),
        gradient=torch.where(wide(fewer), state.best_gradient, state.gradient),
        step=torch.where(fewer, eps, (state.step / SPARSE_SHRINK).maximum(eps / SPARSE_LEAST)),
        share=torch.where(state.best_loss > state.checked_loss, spread, state.share.minimum(spread)) / SPARSE_SHRINK,
        checked_loss=state.best_loss,
        spread=spread,
    )


def _checked(state: _State, since: int) -> _State:
    """Halve the step, and go back to the best point, where the loss rose too rarely, or where neither the best loss
    nor the step has changed since the last checkpoint."""
    stuck = ~state.halved & (state.best_loss <= state.checked_loss)
    halve = (state.rises <= ENOUGH_RISES * since) | stuck
    return replace(
        state,
        x_adv=torch.where(wide(halve), state.best_x, state.x_adv),
        gradient=torch.where(wide(halve), state.best_gradient, state.gradient),
        step=torch.where(halve, state.step / 2, state.step),
        rises=torch.zeros_like(state.rises),
        checked_loss=state.best_loss,
        halved=halve,
    )


APGD_CE = Attack(apgd, cross_entropy=True, settings={"loss": "cross-entropy", "steps": 100, "restarts": 1})
APGD_DLR = Attack(apgd, settings={"loss": "dlr", "steps": 100, "restarts": 1})
APGD_T = Attack(apgd_targeted, settings={"targets": 9, "steps": 100, "restarts": 1})
