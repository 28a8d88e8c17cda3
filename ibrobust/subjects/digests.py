"""What a model is made of, as digests: results are those of a model only as long as neither its weights nor its code
have changed."""

import ast
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

_INSTALLED = {Path(folder).resolve() for folder in sysconfig.get_paths().values()} | {Path(__file__).parents[1]}
"""Where code lies whose version the card names: Python's own, packages, and this one."""


def digests(model: nn.Module, maker: str) -> dict[str, str]:
    """SHA-256 of a model's parameters and buffers, and of its layers and the Python files that define it: those of its
    classes, that of the module `maker`, and what these import that is not installed. Numbers that it read from
    elsewhere into plain attributes are in neither."""
    weights, code = hashlib.sha256(), hashlib.sha256()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        weights.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        weights.update(_content(tensor))
    for name, part in model.named_modules():
        code.update(f"{name} {type(part).__qualname__} {part.extra_repr()}".encode())
    for content in sorted(path.read_bytes() for path in _files(model, maker)):
        code.update(hashlib.sha256(content).digest())
    return {"weights_sha256": weights.hexdigest(), "code_sha256": code.hexdigest()}


def _content(tensor: Tensor) -> bytes:
    plain = tensor.detach().cpu()
    plain = plain.dequantize() if plain.is_quantized else plain.to_dense()
    return plain.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def _files(model: nn.Module, maker: str) -> set[Path]:
    seen: dict[str, Path] = {}
    waiting = {maker, *(type(part).__module__ for part in model.modules())}
    while waiting:
        name = waiting.pop()
        module = sys.modules.get(name)
        path = Path(getattr(module, "__file__", None) or "")
        if module is None or name in seen or path.suffix != ".py" or not path.is_file():
            continue
        if not any(path.resolve().is_relative_to(folder) for folder in _INSTALLED):
            seen[name] = path.resolve()
            waiting |= set(_imported(path, module.__package__ or ""))
    return set(seen.values())


def _imported(path: Path, package: str) -> Iterator[str]:
    """Names that its import statements may mean, wherever in the file they stand."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (package or not node.level):
            origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)
