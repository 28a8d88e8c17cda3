"""Every bad form of a model, on the command line: one line that names what is wrong, exit code 2, nothing written."""

import sys

import pytest
import torch
from safetensors.torch import save_file

from tests.model_forms import SOURCE, network, save_data, save_onnx, striped
from tests.refusals import refused

ASK = ["evaluate", "--attacks", "fgsm", "--eps", "0.1", "--data"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(SOURCE)
    x, y = striped(8)
    save_data(tmp_path / "mine.npz", x, y)
    save_data(tmp_path / "ten.npz", x, y + 6)
    save_data(tmp_path / "large.npz", *striped(8, size=16))
    (tmp_path / "tuple.py").write_text("import net\nfrom torch import nn\nclass Pair(nn.Module):\n"
                                       "    def forward(self, x):\n        return 3, x\n")  # fmt: skip
    save_file(network(width=4).state_dict(), tmp_path / "w.safetensors")
    torch.save(network(), tmp_path / "whole.pt")
    (tmp_path / "text.pt").write_text("no weights")
    (tmp_path / "text.onnx").write_text("no onnx")
    (tmp_path / "text.pt2").write_text("no program")
    return tmp_path


CASES = {
    "no form": (["net"], ["--model 'net': write FILE.py:FACTORY, package.module:FACTORY", "timm:NAME"]),
    "no file": (["nowhere.onnx"], ["there is no file 'nowhere.onnx'"]),
    "no module": (["nowhere.nets:make"], ["there is no module 'nowhere', here or installed"]),
    "no function": (["net.py:mak"], ["no function 'mak' in the file; it defines make"]),
    "no argument": (["net.py:make", "--model-arg", "depth=3"], ["make() has no argument 'depth'; it has width"]),
    "no key": (["net.py:make", "--model-arg", "depth"], ["--model-arg 'depth': write key=value"]),
    "no name": (["torchvision:resnet81"], ["no model 'resnet81' in torchvision; it has ", " such as resnet18"]),
    "not for it": (["net.py:make", "--architecture", "net.py:make"], ["architecture cannot be given", "'python'"]),
    "no architecture": (["w.safetensors"], ["weights alone are no model", "--architecture"]),
    "no fit": (["w.safetensors", "--architecture", "net.py:make"], ["'0.weight' is (4, 1, 3, 3) in the file and (8,"]),
    "no weights": (["net.py:make", "--weights", "text.pt"], ["weights 'text.pt' hold pickled objects, or are damaged"]),
    "no pickles": (["net.py:make", "--weights", "whole.pt"], ["what could run code is not read"]),
    "no ONNX": (["text.onnx"], ["it is no ONNX file that can be read"]),
    "no logits": (["tuple.py:Pair"], ["an object of type tuple that holds int, shape (8, 1, 8, 8), not a tensor"]),
    "mean alone": (["net.py:make", "--mean", "0.5"], ["--mean stands alone; mean and std go together"]),
    "no normalisation": (["net.py:make", "--normalise", "own"], ["normalise 'own': nothing says"]),
    "no classes": (["net.py:make", "--classes", "nowhere.txt"], ["--classes 'nowhere.txt' cannot be read"]),
    "no program": (["text.pt2"], ["the file is not one that torch.export.save wrote"]),
    "no program there": (["nowhere.pt2"], ["there is no file 'nowhere.pt2'"]),
    "no settings": (["nowhere.toml"], ["there is no file 'nowhere.toml'"]),
    "no hub": (["hf:nobody/nothing"], ["it is no folder, and not on disk otherwise; download (--download)"]),
    "no timm": (["timm:vit_teeny"], ["no model 'vit_teeny' in timm; it has "]),
    "no library": (["robustbench:Best"], ["needs robustbench.utils, which cannot be imported"]),
}
NEEDS = {"hf:": "transformers", "timm:": "timm"}


@pytest.mark.parametrize("case", CASES)
def test_refused_in_one_line(case, place, capsys, monkeypatch):
    words, named = CASES[case]
    for prefix in (prefix for prefix in NEEDS if words[0].startswith(prefix)):
        pytest.importorskip(NEEDS[prefix])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("robustbench", "robustbench.utils"):
        monkeypatch.setitem(sys.modules, name, None)
    refused(place, capsys, monkeypatch, [*ASK, "mine.npz", "--model", *words], named)


@pytest.mark.parametrize("command", ["audit", "certify", "information"])
def test_every_command_that_takes_a_model_refuses_likewise(command, place, capsys, monkeypatch):
    asked = [command, "--data", "mine.npz", "--model"]
    for case in ("no form", "no fit", "no name"):
        words, named = CASES[case]
        refused(place, capsys, monkeypatch, [*asked, *words], named)
    for library in ("onnx", "onnxruntime", "onnx2pytorch"):
        monkeypatch.setitem(sys.modules, library, None)
    said = ["which cannot be imported", "pip install 'ibrobust[onnx]'"]
    refused(place, capsys, monkeypatch, [*asked, "text.onnx"], said)


def test_too_few_classes_and_other_images(place, capsys, monkeypatch):
    said = ["it knows 4 classes, but the data has label 9"]
    refused(place, capsys, monkeypatch, [*ASK, "ten.npz", "--model", "net.py:make"], said)
    for library in ("onnx", "onnxruntime", "onnx2pytorch"):
        pytest.importorskip(library)
    save_onnx(network(), striped(2)[0], place / "net.onnx")
    said = ["it takes images of shape (any, 1, 8, 8), and the data's are (N, 1, 16, 16)"]
    refused(place, capsys, monkeypatch, [*ASK, "large.npz", "--model", "net.onnx"], said)


def test_an_operator_that_the_converter_lacks(place, capsys, monkeypatch):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnx2pytorch")
    pytest.importorskip("onnxruntime")
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 1, 8, 8]) for name in ("x", "y")]
    node = onnx.helper.make_node("QuickGelu", ["x"], ["y"], domain="com.microsoft")
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:])
    domains = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=domains), place / "gelu.onnx")
    said = ["the converter onnx2pytorch lacks something of it", "op_type=QuickGelu"]
    refused(place, capsys, monkeypatch, [*ASK, "mine.npz", "--model", "gelu.onnx"], said)


@pytest.mark.parametrize("words", [["--weights", "w.pt"], ["--model-arg", "a=1"], ["--classes", "c.txt"]])
def test_options_without_a_model(place, capsys, monkeypatch, words):
    flag = words[0]
    refused(
        place, capsys, monkeypatch, ["evaluate", "zoo", *words], [f"{flag} {words[1]}", f"{flag} goes with --model"]
    )
    (place / "results").mkdir()
    refused(place, capsys, monkeypatch, ["verify", "results", *words], ["no results with images in results"])
