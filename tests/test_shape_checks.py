"""While the tests run, a shape or dtype other than the signature's is an error, at the first call and at later ones."""

from dataclasses import dataclass
from typing import Literal

import pytest
import torch
from jaxtyping import Float, Int, TypeCheckError
from torch import Tensor

from ibrobust.attacks.norms.l2 import l2_distance
from ibrobust.models.bottleneck import Bottleneck
from ibrobust.robustness.settings import Settings
from ibrobust.types import Images, PerSample
from tests import shape_checks

IMAGES = torch.rand(2, 3, 4, 4)


@pytest.mark.parametrize(
    "other", [IMAGES[:1], IMAGES[:, :1], IMAGES[0], IMAGES > 0.5], ids=["batch", "channels", "rank", "dtype"]
)
def test_the_package_refuses_other_shapes_and_dtypes_also_after_right_ones(other):
    for _ in range(2):
        assert l2_distance(IMAGES, IMAGES).shape == (2,)
        with pytest.raises(TypeCheckError):
            l2_distance(IMAGES, other)


@shape_checks.checked
def labelled(x: Images, y: Int[Tensor, " batch"], by: Literal["sum", "wrong"] = "sum") -> PerSample:
    return x.flatten(1).sum(1) + y if by == "sum" else x


def test_each_part_of_a_signature_is_checked_by_position_and_by_name():
    y = torch.zeros(2, dtype=torch.int64)
    assert labelled(IMAGES, y).shape == labelled(IMAGES, y=y, by="sum").shape == (2,)
    for args, kwargs in [
        ((IMAGES, y[:1]), {}), ((IMAGES, y.float()), {}), ((IMAGES, y.tolist()[0]), {}), ((IMAGES,), {"y": y[:1]}),
        ((IMAGES, y, "mean"), {}), ((IMAGES, y), {"by": "mean"}), ((IMAGES, y, "wrong"), {}),
    ]:  # fmt: skip
        for _ in range(2):
            with pytest.raises(TypeCheckError):
                labelled(*args, **kwargs)


def test_an_answer_of_another_shape_is_found_where_the_arguments_are_of_the_same():
    answers = iter([IMAGES, IMAGES, IMAGES[:, 0], IMAGES])

    @shape_checks.checked
    def answer(x: Images) -> Images:
        return next(answers)

    assert answer(IMAGES) is answer(IMAGES) is IMAGES
    with pytest.raises(TypeCheckError):
        answer(IMAGES)
    assert answer(IMAGES) is IMAGES


def test_sequences_methods_properties_dataclasses_and_functions_within_functions_are_checked_too():
    @shape_checks.checked
    @dataclass
    class Pair:
        both: tuple[Float[Tensor, " n"], Float[Tensor, " n"]]

        @shape_checks.checked
        @staticmethod
        def of(parts: list[Float[Tensor, " n"]]) -> "Pair":
            return Pair((parts[0], parts[1]))

        @shape_checks.checked
        @property
        def first(self) -> Float[Tensor, " 2"]:
            return self.both[0]

    two, three = torch.rand(2), torch.rand(3)
    for _ in range(2):
        assert Pair.of([two, two]).first is two
        for wrong in [
            lambda: Pair((two, three)),
            lambda: Pair.of([two.int(), two]),
            lambda: Pair((three, three)).first,
        ]:
            with pytest.raises(TypeCheckError):
                wrong()


def test_dataclasses_whose_fields_have_the_same_names_are_checked_apart():
    @shape_checks.checked
    @dataclass
    class Number:
        x: int

    @shape_checks.checked
    @dataclass
    class Text:
        x: str

    for made, right, wrong in ((Number, 1, "1"), (Text, "1", 1)):
        assert made(right).x == right
        with pytest.raises(TypeCheckError):
            made(wrong)


def test_every_function_of_the_package_is_under_the_check():
    for fn in [l2_distance, Bottleneck.forward, Bottleneck.__init__, Settings.corrupts.fget]:
        assert fn.__code__ is shape_checks.checked_once(fn).__code__


def test_of_many_calls_in_one_test_the_first_and_one_of_several_are_looked_at():
    @shape_checks.checked
    def same(x: Images) -> Images:
        return x if x.shape == IMAGES.shape else x[0]

    for _ in range(1000):
        same(IMAGES)
    found = []
    for number in range(shape_checks.THEN):
        try:
            same(torch.rand(4, 1, 2, 2))
        except TypeCheckError:
            found.append(number)
    assert len(found) == 1
    shape_checks.begin_test()
    with pytest.raises(TypeCheckError):
        same(torch.rand(5, 1, 2, 2))


def test_a_combination_is_looked_at_once(monkeypatch):
    looks = []
    monkeypatch.setattr(shape_checks.Check, "__call__", lambda self, *given: looks.append(given))
    for _ in range(3):
        labelled(torch.rand(5, 1, 2, 2), torch.arange(5))
    assert len(looks) == 1
