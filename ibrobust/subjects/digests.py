"""What a model is made of, as digests: results are those of a model only as long as neither its weights nor its code
have changed."""

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from ibrobust.python_files import files_of


def digests(model: nn.Module, maker: str | None, file: Path | None = None, *, settings: str = "") -> dict[str, str]:
    """SHA-256 of a model's parameters and buffers, and of its layers and the Python files that define it: those of its
    classes, that of the module `maker`, and what these import that is not installed; of installed packages other than
    PyTorch, whose version the card says, their versions. A `file` that holds the model, in whatever format, and the
    `settings` that it was made with count as code. Numbers that it read from elsewhere into plain attributes are in
    neither."""
    weights, code = hashlib.sha256(), hashlib.sha256()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        weights.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        weights.update(_content(tensor))
    for name, part in model.named_modules():
        code.update(f"{name} {type(part).__qualname__} {part.extra_repr()}".encode())
    made_by = {*([maker] if maker else []), *(type(part).__module__ for part in model.modules())}
    for content in sorted(path.read_bytes() for path in files_of(made_by) | ({file} if file else set())):
        code.update(hashlib.sha256(content).digest())
    for told in (*_library_versions(made_by), *([settings] if settings else [])):
        code.update(told.encode())
    return {"weights_sha256": weights.hexdigest(), "code_sha256": code.hexdigest()}


def _library_versions(modules: Iterable[str]) -> list[str]:
    """Name and version of each package that the modules are from, where it states one; the card says PyTorch's."""
    packages = sorted({module.partition(".")[0] for module in modules} - {"torch", "ibrobust"})
    stated = {package: getattr(sys.modules.get(package), "__version__", None) for package in packages}
    return [f"{package} {version}" for package, version in stated.items() if isinstance(version, str)]


def _content(tensor: Tensor) -> bytes:
    plain = tensor.detach().cpu()
    plain = plain.dequantize() if plain.is_quantized else plain.to_dense()
    return plain.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
