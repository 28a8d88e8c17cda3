"""Models as people keep them: scripted, frozen, exported; a module or a factory, in a file or in a package."""

import functools
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import ibrobust
from ibrobust.errors import BadInput
from ibrobust.models.answers import as_module
from ibrobust.subjects.formats import load_model
from tests.linear_truth import X, Y

WEIGHT = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))


def plain() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    model[1].weight.data, model[1].bias.data = WEIGHT.clone(), torch.zeros(3)
    return model


def exported(shape: object) -> nn.Module:
    return torch.export.export(plain(), (X[:4],), dynamic_shapes=shape).module()


FORMS: dict[str, Callable[[], nn.Module]] = {
    "scripted": lambda: torch.jit.script(plain()),
    "frozen": lambda: torch.jit.freeze(torch.jit.script(plain())),
    "exported": lambda: exported(({0: torch.export.Dim("batch")},)),
    "compiled": lambda: torch.compile(plain()),
}
SETTINGS = {"eps": [0.05, 0.2], "attacks": ["fgsm", "deepfool"], "health": "ignore"}


@pytest.mark.parametrize("form", FORMS)
def test_programs_have_the_radii_of_the_plain_model(form: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit and torch.export warn of themselves.
        model = FORMS[form]()
        found = ibrobust.breaking_radii(model, X, Y, **SETTINGS)
    assert found.rows.equals(ibrobust.breaking_radii(plain(), X, Y, **SETTINGS).rows)


def test_a_program_of_one_batch_size_is_refused_in_one_line() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = exported(None)
        with pytest.raises(BadInput, match=r"^the model raised on 16 images of shape \(1, 4, 4\): ") as refusal:
            ibrobust.breaking_radii(model, X, Y, **SETTINGS)
    assert "\n" not in str(refusal.value)


def test_a_module_may_stand_where_a_factory_is_expected(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\nmodel = nn.Linear(2, 3)\n")
    assert load_model(f"{tmp_path}/net.py:model").out_features == 3


def test_a_file_of_a_package_may_import_from_it(tmp_path: Path) -> None:
    for number in (1, 2):  # Two packages of one name, in different folders.
        inner = tmp_path / f"v{number}" / "mine" / "inner"
        inner.mkdir(parents=True)
        (inner / "__init__.py").touch()
        (inner.parent / "__init__.py").touch()
        (inner.parent / "sizes.py").write_text(f"CLASSES = {number + 2}\n")
        (inner / "layers.py").write_text("from torch.nn import Linear\n")
        (inner / "net.py").write_text(
            "from ..sizes import CLASSES\nfrom .layers import Linear\n\n\ndef make():\n    return Linear(2, CLASSES)\n"
        )
        assert load_model(f"{inner}/net.py:make").out_features == number + 2


def test_models_of_two_folders_import_what_lies_beside_each(tmp_path: Path) -> None:
    for number in (1, 2):
        folder = tmp_path / f"v{number}"
        folder.mkdir()
        (folder / "sizes_beside.py").write_text(f"CLASSES = {number + 2}\n")
        source = "from sizes_beside import CLASSES\nfrom torch import nn\ndef make(): return nn.Linear(2, CLASSES)\n"
        (folder / "net.py").write_text(source)
        assert load_model(f"{folder}/net.py:make").out_features == number + 2


def test_a_function_will_do_and_a_class_will_not() -> None:
    model = plain().train()
    expected = ibrobust.breaking_radii(plain(), X, Y, **SETTINGS).rows
    functions = [lambda x: x.flatten(1) @ WEIGHT.T, model.forward, functools.partial(model.__call__)]
    for function in functions:
        assert ibrobust.breaking_radii(function, X, Y, **SETTINGS).rows.equals(expected)
    assert model.training, "as it was"
    for wrong, kind in ((nn.Linear, "the class Linear"), ("net.py:make", "an object of type str"), (None, "None")):
        with pytest.raises(BadInput, match=f"^model is {kind}, not an nn.Module"):
            as_module(wrong)


def test_a_factory_may_return_a_function(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("def make(scale=1):\n    return lambda x: scale * x.flatten(1)\n")
    model = load_model(f"{tmp_path}/net.py:make", arguments={"scale": 3})
    assert torch.equal(model(X), 3 * X.flatten(1))
