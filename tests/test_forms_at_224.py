"""torchvision's ResNet18 at 224 × 224 has the same breaking radii by name, as TorchScript and as ONNX.

`python -m benchmarks.model_forms` compares more forms, samples and networks.
"""

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

import ibrobust
from ibrobust.attacks.filling import Filling
from ibrobust.foreign import load_model
from tests.model_forms import save_onnx, save_scripted, striped

X = striped(1, channels=3, size=224)[0]
FORMS = {
    "by name": ("torchvision:resnet18", {"arguments": {"num_classes": 4}, "weights": "w.safetensors"}),
    "TorchScript": ("scripted.pt", {}),
    "ONNX": ("net.onnx", {}),
}

UNFILLED = ("ibrobust.robustness.clean_block.needed_filling", lambda *_: Filling(1, 1))
"""How many rows a batch needs is not measured, which would take most of the time."""


def first_radii(model, y) -> list[float]:
    return ibrobust.breaking_radii(model, X, y, eps=[0.05], attacks="fgsm", health="ignore").rows


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with the network in all forms, its predictions, and its rows."""
    folder = tmp_path_factory.mktemp("resnet")
    torch.manual_seed(0)
    model = resnet18(num_classes=4).eval()
    save_file(model.state_dict(), folder / "w.safetensors")
    save_scripted(model, folder / "scripted.pt")
    save_onnx(model, X[:1], folder / "net.onnx")
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(*UNFILLED)
        y = model(X).argmax(1)
        rows = first_radii(model, y)
    return folder, y, rows


@pytest.mark.filterwarnings("ignore::ibrobust.errors.ModelWarning")
@pytest.mark.parametrize("form", FORMS)
def test_the_same_radii_in_every_form(form, kept, monkeypatch):
    if form == "ONNX":
        for library in ("onnx", "onnxruntime", "onnx2pytorch"):
            pytest.importorskip(library)
    folder, y, expected = kept
    monkeypatch.chdir(folder)
    monkeypatch.setattr(*UNFILLED)
    text, options = FORMS[form]
    rows = first_radii(load_model(text, **options), y)
    assert rows.equals(expected)
    assert rows["fgsm"].between(0, 1, inclusive="neither").any()
