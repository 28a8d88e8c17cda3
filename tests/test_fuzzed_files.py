"""Damaged files end well or are refused in one line: never a traceback, never another exit code."""

import pytest

from tests.fuzzing import TARGETS, ending


@pytest.mark.parametrize("target", TARGETS)
def test_damaged_files_end_well_or_are_refused_in_one_line(tmp_path, target):
    codes = set()
    for seed in range(25):
        code, said = ending(target, seed, tmp_path)
        codes.add(code)
        assert code in (0, 2), (seed, said)
        assert said.count("\n") <= 1, (seed, said)
        assert said.startswith("error: ") == (code == 2), (seed, said)
    assert 2 in codes, "some damage is seen"


def test_the_same_seed_damages_alike():
    import random

    for _, content, damage, _ in TARGETS.values():
        assert damage(content, random.Random(1)) == damage(content, random.Random(1))
