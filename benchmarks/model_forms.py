"""`python -m benchmarks.model_forms`: one network in every form that it can be kept in, and the breaking radii of each.

Networks have random weights and images of 224 × 224; labels are what the network itself predicts, so that every sample
is attacked, by FGSM at 17 radii. Of each form: how many samples have another breaking radius than the module in hand,
and how far logits differ at most. 0 of both is the same to the bit. How many rows a batch needs is not measured, which
would take most of the time: all samples stand in one batch.
"""

import argparse
import contextlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import ibrobust
from ibrobust.attacks.filling import Filling
from ibrobust.errors import BadInput
from ibrobust.foreign import load_model
from ibrobust.models.answers import logits_in
from ibrobust.models.calls import called
from ibrobust.robustness import clean_block
from tests.model_forms import save_exported, save_onnx, striped

RADII = [1e-4 * 1.6**step for step in range(17)]
FACTORY = """
import torch
def make(library, name, **arguments):
    if library == "torchvision":
        import torchvision
        return torchvision.models.get_model(name, **arguments).eval()
    import timm
    return timm.create_model(name, **arguments).eval()
"""


@dataclass(frozen=True)
class Network:
    """A network of a library, and what it is made with."""

    library: str
    name: str
    arguments: dict[str, Any]

    def module(self) -> nn.Module:
        """It with random weights."""
        torch.manual_seed(0)
        if self.library == "hf":
            from transformers import ViTConfig, ViTForImageClassification

            return ViTForImageClassification(ViTConfig(**self.arguments)).eval()
        scope: dict[str, Any] = {}
        exec(FACTORY, scope)
        module: nn.Module = scope["make"](self.library, self.name, **self.arguments)
        return module


_SMALL = {
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 192,
    "num_labels": 10,
}
NETWORKS = {
    "torchvision ResNet18": Network("torchvision", "resnet18", {"num_classes": 10}),
    "transformers ViT, from a config": Network("hf", "ViT", _SMALL),
}


class Logits(nn.Module):
    """A network whose answers are objects with `.logits`, for exporters that want tensors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = logits_in(self.model(x))[0]
        return logits


def traced(model: nn.Module, x: Tensor, file: str) -> None:
    torch.jit.trace(model, x, check_trace=False).save(file)


def forms(network: Network, model: nn.Module, x: Tensor) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    """What each is called, and how it is saved in the working folder and loaded."""
    plain, like = Logits(model), x[:2]
    save_file(model.state_dict(), "w.safetensors")
    torch.save(model.state_dict(), "w.pt")
    Path("net.py").write_text(FACTORY, encoding="utf-8")
    if network.library == "hf":
        model.save_pretrained("folder")  # type: ignore[operator]
        yield "hf:FOLDER", lambda: load_model("hf:folder")
    else:
        given = network.arguments
        made = {"library": network.library, "name": network.name, **given}
        text = f"{network.library}:{network.name}"
        yield f"{network.library}:NAME, --weights", lambda: load_model(text, arguments=given, weights="w.safetensors")
        yield "FILE.py:FACTORY, arguments", lambda: load_model("net.py:make", arguments=made, weights="w.pt")
        yield (
            "FILE.safetensors, --architecture",
            lambda: load_model("w.safetensors", arguments=made, architecture="net.py:make"),
        )

    def saved(save: Callable[..., None], file: str, **options: Any) -> nn.Module:
        save(plain, like, file, **options)
        return load_model(file)

    yield "TorchScript, traced", lambda: saved(traced, "scripted.pt")
    yield "FILE.pt2", lambda: saved(save_exported, "exported.pt2")
    yield "ONNX, the older exporter", lambda: saved(save_onnx, "net.onnx")
    yield "ONNX, today's exporter", lambda: saved(save_onnx, "today.onnx", dynamo=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--forms", nargs="*", default=[""], help="forms whose names contain one of these")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    clean_block.needed_filling = lambda *_: Filling(1, 1)  # type: ignore[assignment]
    print("| network | form | other breaking radii | logits differ by at most |\n|---|---|---|---|", flush=True)
    x = striped(options.samples, channels=3, size=224)[0]
    for title in options.networks:
        network = NETWORKS[title]
        model = network.module()
        with torch.no_grad():
            expected = called(model, model)(x)
        asked = {"y": expected.argmax(1), "eps": RADII, "attacks": "fgsm", "health": "ignore"}
        radii = ibrobust.breaking_radii(model, x, **asked).rows["fgsm"]
        assert radii.nunique() > 1, "some of the radii break some of the samples"
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            for form, load in forms(network, model, x):
                if not any(part in form for part in options.forms):
                    continue
                try:
                    found = load()
                except BadInput as refusal:
                    print(f"| {title} | {form} | refused: {str(refusal)[:200]} | |", flush=True)
                    continue
                with torch.no_grad():
                    apart = float((called(found, found)(x) - expected).abs().max())
                other = int((ibrobust.breaking_radii(found, x, **asked).rows["fgsm"] != radii).sum())
                print(f"| {title} | {form} | {other} of {len(x)} | {apart:.1g} |", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
