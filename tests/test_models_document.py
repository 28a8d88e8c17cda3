"""docs/models.md: every line of its table runs where its library is installed, and so does every snippet."""

import re
import shlex
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ibrobust.__main__ import main
from ibrobust.attacks import ATTACKS
from ibrobust.attacks.filling import Filling
from ibrobust.subjects.formats import FORMATS
from tests.conftest import ROOT
from tests.model_forms import forms_in, save_data, striped

DOCUMENT = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
LINES = [
    line.split("|")[-2].strip().strip("`")
    for line in DOCUMENT.splitlines()
    if re.match(r"\| `.*evaluate --model", line)
]
SNIPPETS = re.findall(r"```python\n(import .*?)```", DOCUMENT, re.DOTALL)
QUICK = "--attacks fgsm --eps 0.01 --samples 2 --threads 1 --device cpu"
NEEDS = {
    ".onnx": ("onnx", "onnxruntime", "onnx2pytorch"),
    "timm:": ("timm",),
    "hf:": ("transformers",),
    "my-vit": ("transformers",),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the document speaks of."""
    place = tmp_path_factory.mktemp("document")
    forms_in(place)
    torch.manual_seed(0)
    save_data(place / "photos.npz", *striped(8, channels=3, size=224))
    save_data(place / "colours.npz", *striped(8, channels=3, size=16))
    (place / "outputs.txt").write_text("1\n3\n5\n7\n")
    torchvision_resnet18(place)
    if find_spec("timm"):
        import timm

        save_file(timm.create_model("vit_tiny_patch16_224", depth=1).state_dict(), place / "vit.safetensors")
    if find_spec("transformers"):
        from transformers import ViTConfig, ViTForImageClassification

        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        ViTForImageClassification(ViTConfig(**sizes, image_size=16, patch_size=8, num_labels=4)).save_pretrained(
            place / "my-vit"
        )
    return place


def torchvision_resnet18(place) -> None:
    from torchvision.models import resnet18

    save_file(resnet18().state_dict(), place / "r18.safetensors")


def skip_without(text: str) -> None:
    for part, libraries in NEEDS.items():
        if part in text:
            for library in libraries:
                pytest.importorskip(library)


def test_every_form_has_a_line():
    named = [line.split()[2] for line in LINES]
    used = {next(name for name in reversed(list(FORMATS)) if FORMATS[name].accepts(text)) for text in named}
    # Whether a file of weights is a program stands in the file.
    assert used | {"torchscript"} == set(FORMATS)


@pytest.mark.filterwarnings("ignore::ibrobust.errors.ModelWarning")
@pytest.mark.parametrize("line", [line for line in LINES if "robustbench" not in line])
def test_every_line_of_the_table_runs(line, folder, monkeypatch, capsys, tmp_path):
    skip_without(line)
    monkeypatch.chdir(folder)
    quick = shlex.split(QUICK)
    label, chosen = ("black-box", quick[2:]) if "black-box" in line else ("fgsm", quick)
    for name in ("decision", "square"):
        monkeypatch.setitem(ATTACKS._entries, name, ATTACKS[name].with_settings({"queries": 30}))
    # How many rows a batch needs is not measured, which would take most of the time.
    monkeypatch.setattr("ibrobust.robustness.clean_block.needed_filling", lambda *_: Filling(1, 1))
    main([*shlex.split(line), *chosen, "--out", str(tmp_path)])
    (results,) = tmp_path.glob(f"{label}/*.parquet")
    assert label in capsys.readouterr().out, results


@pytest.mark.filterwarnings("ignore::ibrobust.errors.ModelWarning")
@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_newcomers_lines_run(snippet, folder, monkeypatch, capsys):
    skip_without(snippet)
    assert len([line for line in snippet.splitlines() if line.strip()]) <= 8
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    exec(snippet, {})
    assert re.search(r"clean [01]\.\d+, n \d", capsys.readouterr().out)


def test_there_are_five_of_them():
    assert len(SNIPPETS) >= 5


def test_the_list_of_forms_is_printed(capsys):
    main(["models"])
    text = capsys.readouterr().out
    for name in FORMATS:
        assert f"  {FORMATS[name].written}\n" in text
        assert f"evaluate {FORMATS[name].example}\n" in text
        assert f"evaluate {FORMATS[name].example}" in LINES, "which are run"
    main(["models", "torchvision"])
    assert "resnet18\n" in capsys.readouterr().out
    assert np.all([FORMATS[name].holds for name in FORMATS])
