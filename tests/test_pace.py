"""How samples are cut into blocks: sizes by what blocks took, and no sample twice or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibrobust.experiments.pace import FIRST, SECONDS, Expectation, Pace
from ibrobust.experiments.unfinished import Gaps


def cut(total: int, seconds, workers: int = 1) -> list[int]:
    """The sizes of all blocks where one of n samples takes `seconds(n)`, each ended before the next begins."""
    pace, sizes, left = Pace(workers), [], total
    while left:
        sizes.append(pace.size(0, left, left))
        left -= sizes[-1]
        pace.took(0, sizes[-1], seconds(sizes[-1]))
    return sizes


def test_blocks_take_half_a_minute_each_after_the_first():
    sizes = cut(5000, lambda n: 0.1 * n)
    assert sizes[0] == FIRST
    assert all(abs(0.1 * size - SECONDS) <= 0.1 * FIRST for size in sizes[2:-1])
    assert sum(sizes) == 5000


def test_where_a_pass_costs_much_whatever_its_rows_blocks_are_larger_than_half_a_minute():
    # 8 s + n / 4: half a minute is 88 samples, a tenth of overhead is 288.
    assert cut(5000, lambda n: 8 + n / 4)[2:10] == [288] * 8


def test_a_first_block_that_takes_long_is_no_reason_to_stay_small():
    # 90 s + n / 2: no block is worth it, and two minutes are the most.
    assert set(cut(5000, lambda n: 90 + n / 2)[2:-1]) == {48}


def test_where_one_sample_takes_minutes_a_block_is_what_one_pass_takes():
    assert set(cut(160, lambda n: 60.0 * n)) == {FIRST}


def test_a_clock_that_stands_still_cuts_all_the_same():
    assert sum(cut(5000, lambda _n: 0.0)) == 5000


def ends_of(workers: int, total: int, fixed: float, each: float, *, expected: bool = True) -> tuple[list[float], int]:
    """When each worker ends where a block of n samples takes `fixed` + `each` · n seconds, and the number of blocks."""
    ends, given, now, left, blocks = [0.0] * workers, [0] * workers, 0.0, total, 0
    pace = Pace(workers, clock=lambda: now)
    if expected:
        pace.expect(0, Expectation(fixed, each))
    while left:
        free = ends.index(min(ends))
        now = ends[free]
        if given[free]:
            pace.ended(0, given[free])
            pace.took(0, given[free], fixed + each * given[free])
        given[free] = pace.size(0, left, left)
        left, blocks = left - given[free], blocks + 1
        pace.gave(0, given[free])
        ends[free] += fixed + each * given[free]
    return ends, blocks


@pytest.mark.parametrize("workers", [2, 3, 8])
@pytest.mark.parametrize("total", [200, 1000, 5000])
@pytest.mark.parametrize(("fixed", "each"), [(8.0, 0.1), (0.5, 0.02), (4.0, 0.4)])
def test_all_workers_end_together_with_as_few_blocks_as_their_size_allows(workers, total, fixed, each):
    ends, blocks = ends_of(workers, total, fixed, each)
    best = int(max(SECONDS - fixed, min(9 * fixed, 120 - fixed)) / each // FIRST * FIRST)
    rounds = -(-total // (workers * best))
    assert blocks <= workers * (rounds + 1)
    assert max(ends) <= total / workers * each + (rounds + 1) * fixed + 2 * FIRST * each


def test_a_worker_that_is_free_takes_more_than_one_that_is_busy():
    now = 0.0
    pace = Pace(2, clock=lambda: now)
    pace.expect(0, Expectation(1.0, 0.1))
    assert pace.size(0, 208, 208) == 112
    pace.gave(0, 288)
    now = 19.8  # Of the 29.8 seconds ten are left: 208 samples, of which it takes a hundred fewer.
    assert pace.size(0, 208, 208) == 160
    assert pace.size(0, 96, 96) == 96


def test_on_a_busy_machine_a_block_lasts_as_much_longer_as_the_last_one_did():
    now = 0.0
    pace = Pace(2, clock=lambda: now)
    pace.expect(0, Expectation(1.0, 0.1))
    pace.gave(0, 288)
    pace.took(0, 288, 29.8, 2 * 29.8)
    now = 39.6
    assert pace.size(0, 208, 208) == 160


def test_where_nobody_knows_the_workers_those_in_work_are_counted():
    pace = Pace(1, clock=lambda: 0.0)
    pace.expect(0, Expectation(0.0, 1.0))
    for _ in range(3):
        pace.gave(1, 0)
    assert pace.size(0, 64, 64) == FIRST


def test_another_run_begins_with_the_size_of_the_last_one():
    pace = Pace(1)
    pace.took(0, 100, 10.0)
    pace.took(0, 200, 20.0)
    assert pace.size(1, 10_000, 10_000) == 288


edges = st.lists(st.integers(0, 60), min_size=2, max_size=12, unique=True).map(sorted)


@given(edges=edges, sizes=st.lists(st.integers(1, 30), min_size=60, max_size=60))
def test_blocks_fill_the_gaps_between_finished_ones_exactly(edges, sizes):
    finished = [range(*pair) for pair in zip(edges[1:-1:2], edges[2:-1:2], strict=False)]
    whole = range(edges[0], edges[-1])
    gaps, found = Gaps.between(whole, finished), []
    assert gaps.left == len(whole) - sum(map(len, finished))
    for size in sizes:
        if (rows := gaps.take(size)) is not None:
            assert 1 <= len(rows) <= size
            found.append(rows)
    assert sorted(sample for rows in (*finished, *found) for sample in rows) == list(whole)
    assert gaps.left == 0


def test_of_nothing_there_are_no_gaps():
    assert Gaps.between(range(3, 3), []).take(5) is None


@pytest.mark.parametrize("left", [1, 15, 16, 17, 31])
def test_no_block_of_fewer_than_a_pass_is_left_for_the_end(left):
    assert Pace(1).size(0, left, left) in (left, FIRST)
    assert left - Pace(1).size(0, left, left) not in range(1, FIRST)


def test_what_passes_take_decides_the_first_block_and_what_blocks_took_the_others():
    pace = Pace(1)
    pace.expect(0, Expectation(8.0, 0.25))
    assert pace.size(0, 5000, 5000) == 288
    pace.took(0, 288, 8 + 288.0)
    assert pace.size(0, 4712, 4712) < 288
    assert pace.size(1, 5000, 5000) < 288  # another run has no expectation of its own


def test_a_model_whose_pass_takes_a_minute_begins_with_one_pass():
    pace = Pace(1)
    pace.expect(0, Expectation(0.0, 60.0))
    assert pace.size(0, 5000, 5000) == FIRST
