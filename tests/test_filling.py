"""Few samples cost few passes through the model, every pass is accounted for, and no bit depends on the batch."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from ibrobust.attacks import ATTACKS
from ibrobust.attacks.filling import ROWS, Filling, needed_filling
from ibrobust.models.bottleneck import view
from ibrobust.robustness.breaking_radii import breaking_radii
from tests.oracles import trained_digits


class Counting(nn.Module):
    """A model that counts the rows that it computes: forward passes without a gradient, and backward passes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.rows = model, 0

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        if logits.requires_grad:
            logits.register_hook(self._count)
        else:
            self._count(logits)
        return logits

    def _count(self, rows: Tensor) -> None:
        self.rows += len(rows)


def wide_linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 10))


def test_a_filling_is_what_it_says() -> None:
    assert [Filling().rows(count) for count in (1, 16, 17, 32)] == [16, 16, 32, 32]
    assert [Filling(4, 1).rows(count) for count in (1, 4, 5, 17)] == [4, 4, 5, 17]


@pytest.mark.parametrize("make", [lambda: trained_digits()[0], wide_linear], ids=["convolutions", "linear"])
def test_bits_are_the_same_in_a_batch_of_every_size_from_the_measured_one_on(make: Callable[[], nn.Module]) -> None:
    model = make()
    filling = needed_filling(view(model), (1, 8, 8), 64, torch.device("cpu"))
    assert filling.least <= ROWS
    x = trained_digits()[1][:48]
    whole = model(x)
    for count in range(1, 48):
        rows = torch.arange(filling.rows(count)).minimum(torch.tensor(count - 1))
        assert torch.equal(model(x[rows])[:count], whole[:count]), count


@pytest.mark.parametrize("attack", ["fgsm", "deepfool", "pgd", "apgd-ce", "fab-t"])
@pytest.mark.parametrize("filling", [Filling(), Filling(4, 1)])
def test_every_pass_of_the_model_is_in_the_account(attack, filling, monkeypatch) -> None:
    model, x, y = trained_digits()
    counting = Counting(model)
    monkeypatch.setattr("ibrobust.robustness.clean_block.needed_filling", lambda *_: filling)
    for look in ("check_model", "channels_last"):  # They ask about one image, before any count begins.
        monkeypatch.setattr(f"ibrobust.robustness.question.{look}", lambda *_, **__: nullcontext())
    asked = {"eps": [0.1], "attacks": {attack: ATTACKS[attack]}, "health": "ignore"}  # A look at health is no query.
    results = breaking_radii(counting, x[:5], y[:5], **asked)
    counted = sum(account.forward + account.gradient for account in results.card.queries.values())
    assert counting.rows == counted + sum(results.filled.values())
    assert results.filled["clean"] == filling.rows(5) - 5


def test_the_filling_changes_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = trained_digits()
    measured = breaking_radii(model, x[:5], y[:5], eps="0:0.2")
    monkeypatch.setattr("ibrobust.robustness.clean_block.needed_filling", lambda *_: Filling())
    filled_up = breaking_radii(model, x[:5], y[:5], eps="0:0.2")
    assert measured.rows.equals(filled_up.rows)
    assert measured.card == filled_up.card
    assert sum(measured.filled.values()) < sum(filled_up.filled.values()) / 3


def test_the_filling_is_measured_once_for_all_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of images of 3 × 224 × 224 a block holds 27: to measure it for each took four times what attacking them took."""
    model, x, y = trained_digits()
    asked = {"eps": [0.1], "attacks": ["fgsm"], "batch_size": 16, "health": "ignore"}
    whole, measured = breaking_radii(model, x[:40], y[:40], **asked), []

    def counted(*given, **more):
        measured.append(given[1])
        return needed_filling(*given, **more)

    monkeypatch.setattr("ibrobust.robustness.clean_block.needed_filling", counted)
    monkeypatch.setattr("ibrobust.robustness.question._BLOCK_PIXELS", 1)
    assert breaking_radii(model, x[:40], y[:40], **asked).rows.equals(whole.rows)
    assert measured == [(1, 8, 8)]
