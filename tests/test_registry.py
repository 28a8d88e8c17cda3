"""One table per extension point: what is looked up, listed and registered is the same."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from ibrobust.errors import BadInput
from ibrobust.registry import EXTENSION_POINTS, Registry, extension_point

NEEDS_A_LIBRARY = {"backend"}
ENTRIES = [(kind, name) for kind, registry in EXTENSION_POINTS.items() for name in registry]


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_what_is_declared_is_there(kind, name):
    if kind in NEEDS_A_LIBRARY:
        pytest.importorskip(name)
    registry = EXTENSION_POINTS[kind]
    entry = registry[name]
    assert registry.type is not object, "its module says what an entry is"
    assert isinstance(entry, registry.type)


def test_names_are_known_without_importing_what_they_name():
    code = (
        "import sys; from ibrobust.registry import EXTENSION_POINTS as points\n"
        "print(*(registry.choices for registry in points.values()), len(points['attack']), 'pgd' in points['attack'])\n"
        "print('@', *sys.modules)"
    )
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    names, _, modules = text.partition("@")
    assert names.strip().endswith("True")
    assert {name for name in modules.split() if name.startswith("ibrobust")} == {
        "ibrobust", "ibrobust.errors", "ibrobust.registry",
    }  # fmt: skip
    assert "torch" not in modules.split()


def test_a_miss_lists_the_names_and_behaves_as_a_mapping_should():
    registry: Registry[int] = Registry("number")
    registry["one"], registry["two"] = 1, 2
    with pytest.raises(BadInput, match=r"^no number 'three'; choose from one, two$"):
        registry["three"]
    with pytest.raises(BadInput, match="no number 'three'"):
        del registry["three"]
    assert registry.get("three", 3) == 3
    assert list(registry.items()) == [("one", 1), ("two", 2)]
    assert "three" not in registry


def test_a_name_is_registered_once(monkeypatch):
    registry: Registry[object] = Registry("attack", {"pgd": "attacks.gradient_ascent:PGD"})
    for _ in range(2):  # before and after it is looked up
        with pytest.raises(BadInput, match=r"^attack 'pgd' is registered already, by ibrobust; choose another name$"):
            registry["pgd"] = object()
        assert registry["pgd"] is not None


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../a", "a--b", "-a", "a,b", "a.", "é"])
def test_names_that_would_spoil_a_path_or_a_list_are_refused(name):
    registry: Registry[int] = Registry("number")
    with pytest.raises(BadInput, match="a name is letters and digits"):
        registry[name] = 1
    assert not len(registry)


def test_an_entry_of_the_wrong_type_is_refused(monkeypatch):
    registry: Registry[object] = Registry("thing")
    monkeypatch.setitem(EXTENSION_POINTS, "thing", registry)
    assert extension_point("thing", Callable) is registry
    with pytest.raises(BadInput, match=r"^thing 'x': the entry is of type int; it has to be a function$"):
        registry["x"] = 3
    extension_point("thing", dict)
    with pytest.raises(BadInput, match=r"^thing 'x': the entry is of type function; it has to be of type dict$"):
        registry["x"] = test_names_are_known_without_importing_what_they_name


@pytest.mark.parametrize("kind", sorted(EXTENSION_POINTS))
def test_help_lists_every_name(kind, monkeypatch):
    from importlib import import_module

    from ibrobust.__main__ import COMMANDS

    registry = EXTENSION_POINTS[kind]
    monkeypatch.setattr(registry, "type", object)
    monkeypatch.setitem(registry, "one-of-mine", object())
    parsers = [import_module(f"ibrobust.commands.{name}")._parser() for name in COMMANDS]
    helps = [" ".join(parser.format_help().split()).replace("- ", "-") for parser in parsers]
    assert any(all(name in text for name in registry) for text in helps)
