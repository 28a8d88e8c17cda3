"""The search for the smallest radius that breaks, against the answer read off a table."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ibrobust.attacks import ATTACKS, Attack
from ibrobust.robustness.breaking_radii import breaking_radii
from ibrobust.robustness.search import SEARCHES, bisect, exhaustive
from tests.oracles import trained_digits

RADII = 10
answers = st.lists(st.integers(0, RADII), min_size=1, max_size=30)


class Probes:
    """Breaks sample i at radius index r where the table says so; counts the questions."""

    def __init__(self, breaks_SE: Tensor) -> None:
        self.breaks_SE = breaks_SE
        self.asked = torch.zeros(len(breaks_SE), dtype=torch.int64)
        self.failed = torch.zeros(len(breaks_SE), dtype=torch.int64)

    def __call__(self, samples: Tensor, radius: Tensor) -> Tensor:
        assert len(samples.unique()) == len(samples)
        self.asked[samples] += 1
        broke = self.breaks_SE[samples, radius]
        self.failed[samples] += (~broke).long()
        return broke


def monotone(smallest: Tensor) -> Probes:
    return Probes(torch.arange(RADII)[None] >= smallest[:, None])


def everywhere(samples: list) -> Tensor:
    return torch.full((len(samples),), RADII)


@given(answers, st.data())
def test_every_search_finds_the_smallest_index_from_any_guess(smallest: list[int], data: st.DataObject) -> None:
    guess = data.draw(st.lists(st.integers(0, RADII), min_size=len(smallest), max_size=len(smallest)))
    for search in SEARCHES.values():
        found = search(monotone(torch.tensor(smallest)), everywhere(smallest), torch.tensor(guess))
        assert found.tolist() == smallest


@given(answers, st.data())
def test_nothing_is_asked_at_a_limit_or_above(smallest: list[int], data: st.DataObject) -> None:
    indices = st.lists(st.integers(0, RADII), min_size=len(smallest), max_size=len(smallest))
    limit, guess = torch.tensor(data.draw(indices)), torch.tensor(data.draw(indices))

    def below(samples: Tensor, radius: Tensor) -> Tensor:
        assert (radius < limit[samples]).all()
        return radius >= torch.tensor(smallest)[samples]

    for search in SEARCHES.values():
        assert search(below, limit, guess).tolist() == torch.tensor(smallest).minimum(limit).tolist()


@given(answers)
def test_a_right_guess_costs_two_probes_and_a_survivor_one(smallest: list[int]) -> None:
    probes = monotone(torch.tensor(smallest))
    bisect(probes, everywhere(smallest), torch.tensor(smallest))
    for index, asked in zip(smallest, probes.asked.tolist(), strict=True):
        assert asked == (1 if index in (0, RADII) else 2)


@given(answers, st.integers(0, 2))
def test_below_a_guess_that_is_a_little_too_high_an_attack_fails_once(smallest: list[int], too_high: int) -> None:
    probes = monotone(torch.tensor(smallest))
    guess = (torch.tensor(smallest) + too_high).clamp(max=RADII)
    assert bisect(probes, everywhere(smallest), guess).tolist() == smallest
    assert probes.failed.tolist() == [min(index, 1) for index in smallest]


@pytest.mark.parametrize("black_box", [False, True])
def test_an_attack_first_tries_to_beat_those_before_it_and_one_without_gradients_to_equal_them(black_box: bool) -> None:
    model, x, y = trained_digits()
    asked = []

    def nothing(attempt) -> Tensor:
        asked.append(attempt.eps)
        return attempt.x

    attacks = {"bim": ATTACKS["bim"], "nothing": Attack(nothing, black_box=black_box)}
    rows = breaking_radii(model, x[:60], y[:60], eps="0:0.2", attacks=attacks).rows
    radii = torch.linspace(0, 0.2, 11)[1:]
    before = torch.searchsorted(radii, torch.tensor(rows["bim"].to_numpy())[rows["bim"].to_numpy() > 0] - 1e-6)
    assert torch.allclose(asked[0], radii[(before + black_box).clamp(1, RADII) - 1])


@given(
    st.lists(st.lists(st.booleans(), min_size=RADII, max_size=RADII), min_size=1, max_size=20), st.integers(0, RADII)
)
def test_where_breaking_is_not_monotone_bisection_still_names_a_radius_that_breaks(
    table: list[list[bool]], guess: int
) -> None:
    breaks_SE = torch.tensor(table)
    start = torch.full((len(table),), guess)
    limit = everywhere(table)
    found, smallest = bisect(Probes(breaks_SE), limit, start), exhaustive(Probes(breaks_SE), limit, start)
    assert (found >= smallest).all()
    broken = found < RADII
    assert breaks_SE[broken, found[broken]].all()
    # Whoever falls at the largest radius is found broken somewhere.
    assert broken[breaks_SE[:, -1]].all()
