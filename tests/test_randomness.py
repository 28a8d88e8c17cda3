"""Random numbers: SplitMix64's own, the same from both forms of its finaliser."""

import torch

from ibrobust.randomness import Draw, DrawsAhead, _mixed, _mixed_signed, sample_draw


def test_the_generator_is_splitmix64() -> None:
    """Outputs 2 to 5 from the state 1234567, as its authors' reference code gives them."""
    known = [3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert [bits % 2**64 for bits in Draw(torch.tensor([1234567]))._bits((4,))[0].tolist()] == known


def test_both_forms_of_the_finaliser_give_the_same_bits() -> None:
    bits = torch.randint(-(2**63), 2**63 - 1, (1000, 3), generator=torch.Generator().manual_seed(0))
    bits[:4, 0] = torch.tensor([0, -1, 2**63 - 1, -(2**63)])
    before = bits.clone()
    assert torch.equal(_mixed(bits), _mixed_signed(bits))
    assert torch.equal(_mixed(bits[::2, 1]), _mixed_signed(bits[::2, 1]))
    assert torch.equal(bits, before)


def test_a_stream_gives_the_same_numbers_again_and_another_name_gives_others() -> None:
    draw = sample_draw(0, torch.arange(5))
    assert torch.equal(draw.fold("a").uniform(3), draw.fold("a").uniform(3))
    assert not torch.equal(draw.fold("a").uniform(3), draw.fold("b").uniform(3))


def test_draws_made_together_are_those_made_one_by_one():
    draw = sample_draw(3, torch.tensor([5, 9, 2**40]))
    ahead = DrawsAhead(draw, range(7, 11))
    places, samples = torch.tensor([0, 3, 3, 1]), torch.tensor([2, 0, 1, 1])
    some = ahead[places, samples]
    for row, (place, sample) in enumerate(zip(places, samples, strict=True)):
        one = draw[sample : sample + 1].fold(7 + int(place))
        assert torch.equal(some.fold("to").fold(2).uniform(4, 2)[row], one.fold("to").fold(2).uniform(4, 2)[0])
        assert torch.equal(some.normal(3)[row], one.normal(3)[0])
