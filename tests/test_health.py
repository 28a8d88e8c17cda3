"""Every entrance looks at the model: what makes numbers meaningless is refused, what is odd is a warning, a line of the
table and in its card."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import ibrobust
from ibrobust.attacks import ATTACKS
from ibrobust.backends import peer_breaking_radii
from ibrobust.backends.adapter import Adapter, PeerAttack
from ibrobust.errors import BadInput, ModelWarning
from ibrobust.experiments.auditing import audit
from ibrobust.robustness.card import card_text
from ibrobust.robustness.samples import usable_samples
from ibrobust.robustness.settings import make_settings
from tests.linear_truth import BROKEN_AT, RADII, Linear, X, Y

ONE = {"eps": [0.12], "attacks": ["fgsm"]}
CALLS: dict[str, Callable[..., object]] = {
    "breaking_radii": lambda model, **more: ibrobust.breaking_radii(model, X, Y, **ONE, **more),
    "noisy_readings": lambda model, **more: ibrobust.noisy_readings(model, X, Y, **ONE, **more),
    "a library": lambda model, **more: peer_breaking_radii(
        model, usable_samples(X, Y), make_settings({**ONE, "backend": "foolbox"}), **more
    ),
    "audit": lambda model, **more: audit(model, X, Y, ibrobust.breaking_radii(Linear(), X, Y, **ONE), **more),
}


@pytest.fixture(autouse=True)
def _no_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Audits that look at the model and ask nothing more, and a library that changes no image."""
    monkeypatch.setattr("ibrobust.experiments.auditing.audited", lambda *_args, **_settings: [])
    library = Adapter({("fgsm", "linf"): PeerAttack(lambda call: call.x)})
    monkeypatch.setattr("ibrobust.backends.adapter_of", lambda _name: library)


class Cut(torch.autograd.Function):
    """The identity, with a gradient of zeros, of nothing, or an error."""

    @staticmethod
    def forward(context: object, x: Tensor, back: Callable[[Tensor], Tensor | None]) -> Tensor:
        context.back = back
        return x.clone()

    @staticmethod
    def backward(context: object, gradient: Tensor) -> tuple[Tensor | None, None]:
        return context.back(gradient), None


def raising(_gradient: Tensor) -> Tensor:
    raise NotImplementedError("no backward\nhere")


REFUSED = {
    "probabilities": (Linear(after=lambda logits: (20 * logits).softmax(1)), "returns probabilities"),
    "detached": (Linear(before=lambda x: x.detach() - 0.5), "no gradient reaches its pixels"),
    "no_grad": (Linear(after=torch.no_grad()(lambda logits: logits.detach())), "no gradient reaches its pixels"),
    "through NumPy": (
        Linear(before=lambda x: torch.from_numpy(x.detach().numpy() - 0.5)),
        "no gradient reaches its pixels",
    ),
    "a backward of nothing": (
        Linear(before=lambda x: Cut.apply(x, lambda _gradient: None) - 0.5),
        "no gradient reaches its pixels",
    ),
    "a gradient that raises": (Linear(before=lambda x: Cut.apply(x, raising) - 0.5), "raised when its gradient was"),
    "bytes": (Linear(before=lambda x: (x > 1) * (x / 255 - 0.5)), "right on 0.0% .* 100.0% .* 0 … 255"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("case", [case for case in REFUSED if case != "bytes"])
def test_what_makes_numbers_meaningless_is_refused(call: str, case: str) -> None:
    model, message = REFUSED[case]
    with pytest.raises(BadInput, match=f"^the model cannot be evaluated: .*{message}") as refusal:
        CALLS[call](model)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).endswith(
        "; health 'ignore' evaluates it all the same (--health ignore on the command line)"
    )


def rounded(x: Tensor) -> Tensor:
    return (x * 255).round() / 255 - 0.5


WARNED = {
    "rounding": (Linear(before=rounded), "exactly zero on 100.0%"),
    "a backward of zeros": (Linear(before=lambda x: Cut.apply(x, torch.zeros_like) - 0.5), "exactly zero on 100.0%"),
    "the rest of the batch": (Linear(after=lambda logits: logits * len(logits)), "depend on the other samples"),
    "in place": (Linear(before=lambda x: x.data.sub_(0.5) * 0 + x), "writes into its input in place"),
    "chance": (Linear(after=lambda logits: logits.roll(1, 1)), "which is chance"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("case", WARNED)
def test_what_is_odd_is_a_warning_a_line_and_in_the_card(call: str, case: str) -> None:
    model, message = WARNED[case]
    with pytest.warns(ModelWarning, match=message):
        result = CALLS[call](model)
    (text,) = [text for text in (result.warnings if call == "audit" else result.card.warnings) if message in text]
    assert f"warning: {text}" in str(result).splitlines()


def test_noise_is_odd_only_where_it_is_taken_for_off() -> None:
    def dropped(logits: Tensor) -> Tensor:
        return logits + torch.randn_like(logits)

    state = torch.get_rng_state()
    with pytest.warns(ModelWarning, match="answers differently when asked twice"):
        ibrobust.robustness.health.warned_of(Linear(after=dropped), X, Y)
    assert torch.equal(state, torch.get_rng_state()), "the caller's generator stands still"
    told = ibrobust.robustness.health.warned_of(Linear(after=dropped), X, Y, noisy=True)
    assert not any("asked twice" in text for text in told)


@pytest.mark.parametrize("call", ["breaking_radii", "noisy_readings"])
def test_a_sound_model_has_no_warnings_and_no_entry(call: str, recwarn: pytest.WarningsRecorder) -> None:
    result = CALLS[call](Linear())
    assert not [warning for warning in recwarn if issubclass(warning.category, ModelWarning)]
    assert result.card.warnings is None
    assert '"warnings"' not in card_text(result.card)


def test_warnings_are_written_with_the_card() -> None:
    with pytest.warns(ModelWarning):
        result = CALLS["breaking_radii"](Linear(before=rounded))
    assert json.loads(card_text(result.card))["warnings"] == result.card.warnings


def test_looking_counts_as_no_query() -> None:
    looked, plain = CALLS["breaking_radii"](Linear()), CALLS["breaking_radii"](Linear(), health="ignore")
    assert looked.card == plain.card
    assert looked.rows.equals(plain.rows)


def test_looking_takes_a_few_hundred_passes() -> None:
    class Counted(Linear):
        asked = 0

        def forward(self, x: Tensor) -> object:
            Counted.asked += len(x)
            return super().forward(x)

    many = torch.arange(2000) % len(X)
    ibrobust.robustness.health.health(Counted(), X[many], Y[many])
    assert Counted.asked <= 720


@pytest.mark.parametrize("call", CALLS)
def test_health_is_checked_or_ignored(call: str) -> None:
    with pytest.raises(BadInput, match=r"^health 'maybe': choose from check, ignore"):
        CALLS[call](Linear(), health="maybe")


def test_without_gradients_square_needs_none() -> None:
    model = Linear(before=lambda x: x.detach() - 0.5)
    square = replace(ATTACKS["square"], settings=ATTACKS["square"].settings | {"queries": 200})
    found = ibrobust.breaking_radii(model, X, Y, eps=RADII, attacks={"square": square})
    assert (found.all_attacks_N >= torch.tensor(BROKEN_AT).numpy() - 1e-6).all()


def test_a_gradient_that_raises_is_one_line_where_health_is_ignored() -> None:
    model = Linear(before=lambda x: Cut.apply(x, raising) - 0.5)
    with pytest.raises(BadInput, match=r"^the model raised when its gradient was asked for .*no backward here$"):
        CALLS["breaking_radii"](model, health="ignore")


def test_tab_and_notebooks() -> None:
    assert {"breaking_radii", "noisy_readings"} <= set(dir(ibrobust))
    attack = ibrobust.attacks.ATTACKS["fgsm"]
    found = ibrobust.breaking_radii(Linear(), X, Y, eps=[0.05], attacks={"<b>&": attack})
    assert "<th>&lt;b&gt;&amp;</th>" in found._repr_html_()
    assert "<b>" not in found._repr_html_()
    with pytest.warns(ModelWarning):
        noisy = CALLS["noisy_readings"](Linear(before=rounded))
    assert "<p>warning: the gradient" in noisy._repr_html_()
