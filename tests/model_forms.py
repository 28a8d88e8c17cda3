"""One small network in every form that a model may have, in a folder, with data for it."""

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

CLASSES = 4
SOURCE = '''
import torch
from torch import nn


def make(width=8):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(16 * width, 16), nn.ReLU(), nn.Linear(16, 4),
    ).eval()
'''  # fmt: skip


def striped(count: int, channels: int = 1, size: int = 8) -> tuple[Tensor, Tensor]:
    """Dim noise with bright rows, whose place is the class."""
    y = torch.arange(count) % CLASSES
    x = 0.6 * torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1))
    step = size // CLASSES
    for sample, label in enumerate(y.tolist()):
        x[sample, :, step * label : step * (label + 1)] += 0.3
    return x, y


def trained(model: nn.Module, x: Tensor, y: Tensor, steps: int = 60) -> nn.Module:
    """Right on these images, in evaluation mode; the batch norm keeps what it has seen."""
    model.train()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    return model.eval()


def network(width: int = 8) -> nn.Module:
    scope: dict[str, object] = {}
    exec(SOURCE, scope)
    make = scope["make"]
    assert callable(make)
    return make(width)


def save_data(file: Path, x: Tensor, y: Tensor) -> None:
    np.savez(file, x=x.numpy(), y=y.numpy())


def save_scripted(model: nn.Module, file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit warns of itself.
        torch.jit.script(model).save(str(file))


def save_exported(model: nn.Module, like: Tensor, file: Path, *, any_batch: bool = True) -> None:
    shapes = ({0: torch.export.Dim("batch")},) if any_batch else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(model, (like,), dynamic_shapes=shapes), file)


def save_onnx(model: nn.Module, like: Tensor, file: Path, *, any_batch: bool = True, dynamo: bool = False) -> None:
    """By today's exporter where `dynamo`, otherwise by the one before it."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if dynamo:
            shapes = ({0: torch.export.Dim("batch")},) if any_batch else None
            torch.onnx.export(model, (like,), file, dynamo=True, dynamic_shapes=shapes, verbose=False)
        else:
            axes = {"x": {0: "batch"}} if any_batch else None
            torch.onnx.export(model, (like,), str(file), dynamo=False, input_names=["x"], dynamic_axes=axes)


def forms_in(folder: Path) -> nn.Module:
    """Everything but ONNX of today's exporter, which takes seconds; returns the network."""
    (folder / "net.py").write_text(SOURCE)
    x, y = striped(64)
    model = trained(network(width=4), x, y)
    save_data(folder / "mine.npz", x[:16], y[:16])
    save_file(model.state_dict(), folder / "w.safetensors")
    torch.save({"state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}}, folder / "w.pt")
    (folder / "net.toml").write_text('model = "net.py:make"\nweights = "w.safetensors"\n\n[arguments]\nwidth = 4\n')
    save_scripted(model, folder / "scripted.pt")
    save_exported(model, x[:4], folder / "exported.pt2")
    save_exported(model, x[:1], folder / "one.pt2", any_batch=False)
    save_onnx(model, x[:4], folder / "net.onnx")
    save_onnx(model, x[:1], folder / "one.onnx", any_batch=False)
    return model
