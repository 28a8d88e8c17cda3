"""One network has the same breaking radii in every form that it can be kept in."""

import numpy as np
import pytest
import torch
from torch import nn

import ibrobust
from ibrobust.datasets import load_dataset
from ibrobust.errors import BadInput
from ibrobust.foreign import load_model
from tests.model_forms import forms_in, network, save_exported, save_onnx, striped, trained

MADE = {"arguments": {"width": 4}}
FORMS = {
    "a factory": ("net.py:make", {**MADE, "weights": "w.safetensors"}),
    "a package": ("net:make", {**MADE, "weights": "w.pt"}),
    "weights": ("w.safetensors", {**MADE, "architecture": "net.py:make"}),
    "a checkpoint": ("w.pt", {**MADE, "architecture": "net:make"}),
    "TOML": ("net.toml", {}),
    "TorchScript": ("scripted.pt", {}),
    "torch.export": ("exported.pt2", {}),
    "torch.export, one image a batch": ("one.pt2", {}),
    "ONNX": ("net.onnx", {}),
    "ONNX, one image a batch": ("one.onnx", {}),
    "ONNX of today's exporter": ("dynamo.onnx", {}),
    "ONNX of today's exporter, one image a batch": ("dynamo-one.onnx", {}),
}
SETTINGS = {"eps": "0.02,0.05,0.1,0.2", "attacks": "fgsm,deepfool", "health": "ignore"}
NEEDS_ONNX = ("onnx", "onnxruntime", "onnx2pytorch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("forms")
    model = forms_in(place)
    if any("today" in form for form in FORMS):
        pytest.importorskip("onnxscript")
        like = striped(4)[0]
        save_onnx(model, like, place / "dynamo.onnx", dynamo=True)
        save_onnx(model, like[:1], place / "dynamo-one.onnx", any_batch=False, dynamo=True)
    return place, model


@pytest.fixture(scope="module")
def expected(folder):
    place, model = folder
    test = load_dataset(str(place / "mine.npz")).test
    table = ibrobust.breaking_radii(model, test.x, test.y, **SETTINGS)
    assert 0 < table.robust_avg < 1
    return test, table


@pytest.mark.filterwarnings("ignore::ibrobust.errors.ModelWarning")
@pytest.mark.parametrize("form", FORMS)
def test_the_same_radii_to_the_bit(form, folder, expected, monkeypatch):
    if "ONNX" in form:
        for library in NEEDS_ONNX:
            pytest.importorskip(library)
    monkeypatch.chdir(folder[0])
    test, table = expected
    text, options = FORMS[form]
    found = ibrobust.breaking_radii(load_model(text, **options), test.x, test.y, **SETTINGS)
    assert found.rows.equals(table.rows)


@pytest.mark.parametrize("file", ["one.pt2", "dynamo-one.onnx"])
def test_a_file_for_one_batch_size_says_so(file, folder):
    if file.endswith("onnx"):
        for library in NEEDS_ONNX:
            pytest.importorskip(library)
    with pytest.warns(match="for batches of 1"):
        model = load_model(str(folder[0] / file))
    assert model(striped(5)[0]).shape == (5, 4)


def test_batches_of_three_are_filled_up(folder, tmp_path):
    x = striped(7)[0]
    save_exported(folder[1], x[:3], tmp_path / "three.pt2", any_batch=False)
    with pytest.warns(match="for batches of 3"):
        model = load_model(str(tmp_path / "three.pt2"))
    assert torch.equal(model(x[:3]), folder[1](x[:3]))
    assert torch.allclose(model(x), folder[1](x), atol=1e-6)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A network for images of MNIST's size, the same read from ONNX, and the file."""
    for library in NEEDS_ONNX:
        pytest.importorskip(library)
    torch.manual_seed(0)
    x, y = striped(48, size=28)
    layers = (nn.Conv2d(1, 4, 5, stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(144, 4))
    model = trained(nn.Sequential(*layers), x, y, steps=30)
    file = tmp_path_factory.mktemp("mnist") / "net.onnx"
    save_onnx(model, x[:2], file)
    return model, load_model(str(file)), file


def test_logits_of_an_onnx_file_are_those_of_onnxruntime(both):
    import onnxruntime

    x = torch.rand(16, 1, 28, 28, generator=torch.Generator().manual_seed(3))
    session = onnxruntime.InferenceSession(both[2], providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {"x": x.numpy()})
    assert torch.allclose(both[1](x), torch.from_numpy(theirs), rtol=0, atol=1e-4)


def test_strict_through_an_onnx_file_is_strict_on_the_module(both):
    x, y = (part[:2] for part in striped(48, size=28))
    ours, original = (
        ibrobust.breaking_radii(model, x, y, eps="0.12", protocol="strict", health="ignore") for model in both[:2]
    )
    assert ours.rows.equals(original.rows)
    assert set(original.rows["fgsm"]) == {float("inf")}
    assert set(ours.rows["square"]) == {np.float32(0.12)}


def test_layers_with_equal_constants_have_them_each(tmp_path):
    """As a batch norm that never learned has in every layer: the exporter keeps its shift once."""
    onnx = pytest.importorskip("onnx")
    for library in NEEDS_ONNX:
        pytest.importorskip(library)
    layers = [nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.BatchNorm2d(1), nn.ReLU()]
    layers += [nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.BatchNorm2d(1), nn.Flatten()]
    model, x = nn.Sequential(*layers).eval(), striped(3)[0]
    save_onnx(model, x, tmp_path / "net.onnx")
    assert "Identity" in {node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node}
    assert torch.allclose(load_model(str(tmp_path / "net.onnx"))(x), model(x), atol=1e-6)


def test_a_conversion_that_computes_something_else_is_refused(tmp_path, monkeypatch):
    for library in NEEDS_ONNX:
        pytest.importorskip(library)
    import onnx2pytorch

    save_onnx(network(width=4), striped(2)[0], tmp_path / "net.onnx")
    right = onnx2pytorch.ConvertModel
    wrong = {"added": lambda logits: logits + 0.1, "shape": lambda logits: logits[:, :3]}
    for spoil, message in (
        ("added", r"differ by up to 0\.1, where"),
        ("shape", r"\(4, 3\), and onnxruntime with \(4, 4\)"),
    ):

        class Spoilt(right):
            def forward(self, x, spoil=spoil):
                return wrong[spoil](super().forward(x))

        monkeypatch.setattr(onnx2pytorch, "ConvertModel", Spoilt)
        with pytest.raises(BadInput, match=message) as refusal:
            load_model(str(tmp_path / "net.onnx"))
        assert "\n" not in str(refusal.value)
