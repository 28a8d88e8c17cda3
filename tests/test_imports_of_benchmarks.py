"""Benchmarks run rarely and no type checker reads them: what they take from the package and the tests is there."""

import ast
import importlib.util
from pathlib import Path

import pytest

BENCHMARKS = sorted((Path(__file__).parent.parent / "benchmarks").glob("*.py"))
OURS = {"ibrobust", "benchmarks", "tests"}


def is_there(module: str, name: str) -> bool:
    """Whether a module has something of that name, or is a package with such a module."""
    found = importlib.import_module(module)
    return hasattr(found, name) or (
        hasattr(found, "__path__") and importlib.util.find_spec(f"{module}.{name}") is not None
    )


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_what_a_benchmark_imports_is_there(path):
    imports = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
    taken = [(node.module, name.name) for node in imports if node.module.split(".")[0] in OURS for name in node.names]
    assert [f"{module}.{name}" for module, name in taken if not is_there(module, name)] == []
