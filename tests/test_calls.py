"""How a model is called: in any precision, on images of its own, in any context, compiled or exported, its weights seen
as it likes; the breaking radii are the exact ones."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import ibrobust
from ibrobust.attacks import ATTACKS
from ibrobust.errors import BadInput
from ibrobust.models.calls import called, type_of_parameters
from tests.linear_truth import BROKEN_AT, RADII, SIGNS, Linear, X, Y

SOME = {
    "deepfool": ATTACKS["deepfool"],
    "pgd": replace(ATTACKS["pgd"], settings=ATTACKS["pgd"].settings | {"steps": 5}),
    "apgd-ce": replace(ATTACKS["apgd-ce"], settings=ATTACKS["apgd-ce"].settings | {"steps": 5}),
    "square": replace(ATTACKS["square"], settings=ATTACKS["square"].settings | {"queries": 10}),
}
NOISY = ["fgsm"]


def assert_exact(model: nn.Module, scale: float = 1, **settings: object) -> None:
    found = ibrobust.breaking_radii(model, X, Y, **{"eps": [scale * radius for radius in RADII], **settings})
    assert found.all_attacks_N.tolist() == pytest.approx([scale * radius for radius in BROKEN_AT])


TYPES = (torch.float16, torch.bfloat16, torch.float64)


@pytest.mark.parametrize("dtype", TYPES)
def test_logits_of_another_precision(dtype: torch.dtype) -> None:
    model = Linear(after=lambda logits: logits.to(dtype))
    assert_exact(model, attacks=SOME)
    assert_exact(model, scale=4, norm="l2", attacks=SOME)
    assert ibrobust.noisy_readings(model, X, Y, eps=RADII, attacks=NOISY).robust_EN.tolist() == [
        [radius < broken for broken in BROKEN_AT] for radius in RADII
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_parameters_of_another_precision(dtype: torch.dtype) -> None:
    assert_exact(Linear().to(dtype))


def test_the_parameters_type_is_that_of_most_of_them() -> None:
    model = nn.ModuleList([nn.BatchNorm1d(3), nn.Linear(9, 9).to(torch.bfloat16)])
    assert type_of_parameters(model) == torch.bfloat16
    assert type_of_parameters(nn.Flatten()) == torch.float32


@contextmanager
def default_type(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


CONTEXTS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "float64 as the default": lambda: default_type(torch.float64),
    "bfloat16 as the default": lambda: default_type(torch.bfloat16),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "another default device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("name", CONTEXTS)
def test_the_callers_context_changes_nothing(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4, 3))
    y = model(X).argmax(1)
    settings = {"eps": [0.02, 0.1], "attacks": SOME}
    plain, noisy = (
        ibrobust.breaking_radii(model, X, y, **settings),
        ibrobust.noisy_readings(model, X, y, eps=0.05, attacks=NOISY),
    )
    context = CONTEXTS[name]
    with context():
        before = torch.get_default_dtype(), torch.get_default_device(), torch.is_inference_mode_enabled()
        made_here = X.clone() if name in ("inference_mode", "no_grad") else X
        assert ibrobust.breaking_radii(model, made_here, y, **settings).rows.equals(plain.rows)
        assert ibrobust.noisy_readings(model, made_here, y, eps=0.05, attacks=NOISY).rows.equals(noisy.rows)
        assert before == (torch.get_default_dtype(), torch.get_default_device(), torch.is_inference_mode_enabled())


def test_what_a_model_creates_has_its_owners_default_type() -> None:
    created = []

    def shifted(x: Tensor) -> Tensor:
        created.append(torch.zeros(1).dtype)
        return x - 0.5

    with default_type(torch.float64):
        assert_exact(Linear(before=shifted).double())
    assert set(created) == {torch.float64}


def test_a_model_made_in_inference_mode_is_refused() -> None:
    with torch.inference_mode():
        model = Linear()
    with pytest.raises(BadInput, match=r"^the model was made in torch\.inference_mode"):
        ibrobust.breaking_radii(model, X, Y)


@torch.no_grad()
def behind_autograds_back(x: Tensor) -> None:
    x.sub_(0.5)


def written(write: Callable[[Tensor], object]) -> Callable[[Tensor], Tensor]:
    def before(x: Tensor) -> Tensor:
        write(x)
        return x

    return before


IN_PLACE = {
    "under no_grad": written(behind_autograds_back),
    "through .data": written(lambda x: x.data.sub_(0.5)),
    "by out=": lambda x: torch.sub(x.detach(), 0.5, out=x.detach()) * 0 + x,
    "known to autograd": lambda x: x.sub_(0.5),
}


@pytest.mark.parametrize("how", IN_PLACE)
@pytest.mark.parametrize("count", [16, 20])
def test_a_model_writes_into_a_copy(how: str, count: int) -> None:
    x, model = X[:count].clone(), Linear(before=IN_PLACE[how])
    found = ibrobust.breaking_radii(model, x, Y[:count], eps=RADII)
    assert found.all_attacks_N.tolist() == pytest.approx(BROKEN_AT[:count])
    noisy = ibrobust.noisy_readings(model, x, Y[:count], eps=[0.02, 0.12], attacks=NOISY)
    assert noisy.robust_EN.mean(1).tolist() == [1, 0]
    assert torch.equal(x, X[:count])


class Prototypes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(torch.stack([SIGNS, -SIGNS]).view(2, 1, 4, 4))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear((x - 0.5).flatten(1), self.prototypes.view(2, -1))


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x - 0.5, self.weight.view(2, -1).view(2, 1, 4, 4))


class Strided(Prototypes):
    """Reads its weights in the order in which they lie in memory."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear((x - 0.5).flatten(1), self.prototypes.as_strided((2, 16), (16, 1)))


def standardised() -> nn.Module:
    convolution = Standardised(1, 2, 4, bias=False)
    convolution.weight.data = torch.stack([SIGNS, -SIGNS]).view(2, 1, 4, 4)
    return nn.Sequential(convolution, nn.Flatten())


@pytest.mark.parametrize("make", [Prototypes, standardised, Strided])
def test_weights_may_be_viewed(make: Callable[[], nn.Module]) -> None:
    model = make()
    (weight,) = model.parameters()
    stored, address, strides = weight.data.clone(), weight.data_ptr(), weight.stride()
    assert_exact(model)
    assert torch.equal(weight, stored)
    assert (weight.data_ptr(), weight.stride()) == (address, strides)


class Spoiled(nn.Sequential):
    """Raises once more than a few images are asked about."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 16:
            raise OSError("no more")
        return super().forward(x)


def test_weights_come_back_when_the_model_raises() -> None:
    model = Spoiled(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2)).requires_grad_(True)
    before = [(weight.data_ptr(), weight.stride(), weight.requires_grad) for weight in model.parameters()]
    x = X.expand(-1, 3, -1, -1).clone()
    with pytest.raises((BadInput, ibrobust.errors.RunFailed), match=r"OSError.*no more"):
        ibrobust.breaking_radii(model, x, Y, eps=0.1)
    assert before == [(weight.data_ptr(), weight.stride(), weight.requires_grad) for weight in model.parameters()]
    assert model.training


def test_the_models_answer_is_asked_of_a_copy_in_float32() -> None:
    x = torch.rand(2, 1, 4, 4)
    model = Linear(before=lambda x: x.zero_()).double()
    assert called(model)(x).dtype == torch.float32
    assert x.all()
