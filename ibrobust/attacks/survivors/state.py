"""How the search for each sample that still stands is going: its pool, and its islands."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ibrobust.attacks.interface import Attempt
from ibrobust.attacks.soft_ascent import Points, wrong_lead
from ibrobust.attacks.survivors.pool import Pool, empty_pool, pool_of, pools_of_all
from ibrobust.attacks.targets import likely_targets
from ibrobust.types import PerSample

PLACES = 32
"""Points of a sample."""
REMEMBERED = 5
"""Generations whose best lead is remembered, the latest among them."""
KEPT = 12
"""Points that an island leaves behind."""


@dataclass(frozen=True)
class State:
    """The samples that still stand.

    Attributes:
        whole: the samples that the search began with.
        place: which of them each is.
        targets: the classes that points may head for, likeliest first.
        gap: by how much the label leads at the image itself.
        pool: its points.
        aside: the best points of the islands before.
        reached: the pool's best lead when it last rose.
        age: generations since.
        ends: the best leads of the last three islands.
        islands: how many there have been.
        leads: the pool's best lead after each of the last few generations.
    """

    whole: Attempt
    place: Int[Tensor, " samples"]
    targets: Int[Tensor, "samples targets"]
    gap: PerSample
    pool: Pool
    aside: Pool
    reached: PerSample
    age: Int[Tensor, " samples"]
    ends: Float[Tensor, "samples 3"]
    islands: Int[Tensor, " samples"]
    leads: Float[Tensor, "samples few"]

    def __getitem__(self, kept: Tensor) -> "State":
        return State(self.whole, *(getattr(self, name)[kept] for name in _PER_SAMPLE))

    def __len__(self) -> int:
        return len(self.place)

    @property
    def attempt(self) -> Attempt:
        return self.whole[self.place]

    def joined(self, points: Points, *, polished: bool = False) -> "State":
        """With these points in the pool, as far as they are among the best."""
        more = pool_of(points, len(self), polished=polished)
        return replace(self, pool=self.pool.joined(more, self.whole.x[self.place]))


_PER_SAMPLE = [field.name for field in fields(State)][1:]


def first_state(attempt: Attempt, targets: int) -> State:
    everyone = torch.arange(len(attempt), device=attempt.x.device)
    gap = -wrong_lead(attempt.victim.clean_logits(attempt.x), attempt.y)[0]
    empty, none, zero = empty_pool(attempt.x, PLACES), torch.full_like(gap, -torch.inf), torch.zeros_like(everyone)
    ends = none[:, None].expand(-1, 3)
    leads = none[:, None].expand(-1, REMEMBERED)
    return State(attempt, everyone, likely_targets(attempt, targets), gap, empty, empty, none, zero, ends, zero, leads)


def set_aside(state: State) -> State:
    """With the best points of the pool put aside, and nothing in it."""
    kept = state.pool.first(KEPT)
    x = state.whole.x[state.place]
    return replace(
        state,
        aside=state.aside.joined(kept, x),
        pool=empty_pool(x, PLACES),
        ends=torch.cat([state.ends[:, 1:], state.pool.lead[:, :1]], dim=1),
        islands=state.islands + 1,
        reached=torch.full_like(state.reached, -torch.inf),
        age=torch.zeros_like(state.age),
        leads=torch.full_like(state.leads, -torch.inf),
    )


def together(states: Sequence[State]) -> State:
    """All samples of these, in the order in which they were at first."""
    merged: dict[str, Any] = {}
    for name in _PER_SAMPLE:
        values = [getattr(state, name) for state in states]
        merged[name] = pools_of_all(values) if isinstance(values[0], Pool) else torch.cat(values)
    whole = replace(states[0], **merged)
    return whole[whole.place.argsort()]
