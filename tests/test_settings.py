"""Settings: one record that flags, TOML, file names and cards come from; protocols; cards as files keep them."""

import ast
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibrobust.attacks import ATTACKS
from ibrobust.commands.command_line import Parser
from ibrobust.commands.settings_flags import add_settings_flags, chosen_settings
from ibrobust.errors import BadInput
from ibrobust.robustness.card import card_of, card_text
from ibrobust.robustness.protocols import PROTOCOLS, strong_enough
from ibrobust.robustness.settings import Settings, make_settings, settings_in
from tests.cards import card
from tests.conftest import ROOT

VALUES = st.fixed_dictionaries(
    {},
    optional={
        "eps": st.sets(st.integers(1, 800), min_size=1, max_size=4).map(
            lambda steps: [step / 255 for step in sorted(steps)]
        ),
        "norm": st.sampled_from(["linf", "l2"]),
        "search": st.sampled_from(["bisect", "exhaustive"]),
        "columns": st.sampled_from(["own", "standing"]),
        "restarts": st.integers(1, 9),
        "generations": st.integers(10, 14),
        "seed": st.integers(0, 2**40),
    },
)
WHOSE = st.one_of(
    st.sampled_from([{"protocol": name} for name in PROTOCOLS if PROTOCOLS[name].attacks]),
    st.lists(st.sampled_from(sorted(ATTACKS)), min_size=1, unique=True).map(lambda names: {"attacks": names}),
)


@given(VALUES, WHOSE)
def test_settings_survive_toml_and_the_card_of_a_file(tmp_path_factory, values, whose):
    settings = make_settings({**values, **whose})
    file = tmp_path_factory.mktemp("toml") / "settings.toml"
    file.write_text(settings.to_toml(), encoding="utf-8")
    assert settings_in(file, {}) == settings
    assert settings_in(file, {"seed": 3}) == settings.model_copy(update={"seed": 3})
    kept = card(run="net", data="digits", **values, **whose)
    assert card_of(card_text(kept)) == kept


def test_a_card_says_how_many_generations_where_they_are_not_the_usual_ones():
    usual, more = (card(run="net", data="digits", **given) for given in ({}, {"generations": 90}))
    assert "generations" not in json.loads(card_text(usual))
    assert json.loads(card_text(more))["generations"] == 90
    assert (card_of(card_text(usual)), card_of(card_text(more))) == (usual, more)


@pytest.mark.parametrize("view", ["fresh", "averaged:4"])
def test_with_noise_a_card_names_no_search(view):
    kept = card(run="net", data="digits", view=view, protocol="strict-rand")
    assert not {"search", "columns"} & set(json.loads(card_text(kept)))
    assert card_of(card_text(kept)) == kept


def flags(*words: str) -> Settings:
    parser = Parser("test", "")
    add_settings_flags(parser)
    return chosen_settings(parser.parse_args(list(words)))


def test_every_setting_is_a_flag_and_flags_win_over_the_file(tmp_path):
    assert flags() == Settings()
    words = {
        "eps": "0.1,0.2", "norm": "l2", "view": "mean", "search": "exhaustive", "columns": "standing",
        "restarts": "2", "seed": "7", "attacks": "pgd, fgsm", "generations": "3",
        "attack_seeds": "4", "target_class": "3", "transfer_from": "net.py:make",
    }  # fmt: skip
    found = flags(*(f"--{key.replace('_', '-')}={word}" for key, word in words.items()))
    assert (found.target_class, found.transfer_from) == ("3", "net.py:make")
    assert found.attacks == ("pgd", "fgsm")
    assert found.eps == (0.1, 0.2)
    assert (found.norm, found.search, found.columns, found.restarts, found.seed, found.generations) == (
        "l2", "exhaustive", "standing", 2, 7, 3
    )  # fmt: skip
    assert found.seeds == range(7, 11)
    assert flags("--noise", "fresh", "--protocol", "strict-rand").view == "fresh"
    assert flags("--backend", "foolbox").search == "exhaustive"
    file = tmp_path / "mine.toml"
    file.write_text('eps = [0.1]\nprotocol = "strict"\nseed = 4\n')
    assert flags("--settings", str(file), "--seed", "5") == make_settings(
        {"eps": [0.1], "protocol": "strict", "seed": 5}
    )
    assert {*words, "protocol", "backend"} == set(Settings.model_fields), "each field is tried above"


REFUSED = [
    ('colour = "red"', ["no key 'colour'", "eps, protocol"]),
    ("restarts = 0", ["restarts = 0", "greater than or equal to 1"]),
    ("seed = -1", ["seed = -1"]),
    ('columns = "doric"', ["'doric'", "own, standing"]),
    ('view = "loud"', ["view 'loud'", "averaged:N"]),
    (f'view = "averaged:{"9" * 5000}"', ["view 'averaged:999", "…"]),
    ("eps = [0.2, 0.1]", ["eps", "ascend"]),
    ("attacks = []", ["attacks is empty", "pgd"]),
    ('attacks = ["pgd", "pgd"]', ["attacks 'pgd,pgd'", "each once"]),
    ('attacks = ["pgd"]\nprotocol = "strict"', ["protocol 'strict'", "beside attacks"]),
    ('backend = "art"\nview = "fresh"', ["view 'fresh'", "'art'"]),
    ('backend = "art"\nrestarts = 2', ["restarts 2", "'art'"]),
    ('backend = "art"\nsearch = "bisect"', ["search 'bisect'", "'art'"]),
    ('view = "fresh"\nattack_seeds = 2', ["attack_seeds 2", "view 'mean'"]),
    ('view = "fresh"\ncolumns = "standing"', ["columns 'standing'", "view 'mean'"]),
    ("eps = ", ["cannot be read"]),
]


@pytest.mark.parametrize(("content", "named"), REFUSED, ids=[content for content, _ in REFUSED])
def test_a_file_of_settings_is_refused_in_one_line(tmp_path, content, named):
    file = tmp_path / "mine.toml"
    file.write_text(content)
    with pytest.raises(BadInput) as refusal:
        settings_in(file, {})
    for text in (*named, "mine.toml"):
        assert text in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_messages_begin_with_the_parameter():
    for values in ({"eps": "x"}, {"restarts": 0}, {"view": "loud"}):
        with pytest.raises(BadInput, match=f"^{next(iter(values))} "):
            make_settings(values)


def test_what_is_not_the_default_stands_in_the_file_name():
    assert make_settings({}).file_stem("run") == "run"
    assert make_settings({"norm": "l2", "columns": "standing"}).file_stem("run") == "run--l2--standing"
    assert make_settings({"view": "averaged:8"}).file_stem("run") == "run--averaged8"
    assert make_settings({"backend": "foolbox"}).file_stem("run") == "run--foolbox"
    assert make_settings({"attacks": "pgd,mi-fgsm"}).label == "pgd_mi-fgsm"


def test_attacks_rank_if_they_include_all_of_a_protocol_that_does():
    strict, rand, paper = (PROTOCOLS[name].attacks for name in ("strict", "strict-rand", "paper"))
    assert strong_enough(strict, noise=False)
    assert strong_enough([*strict, "apgd-dlr"], noise=False)
    assert not strong_enough(strict[1:], noise=False)
    assert not strong_enough(paper, noise=False)
    assert strong_enough(rand, noise=True)
    assert not strong_enough(rand, noise=False), "a protocol for noise says little where there is none"


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = node.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return len(named) + (arguments.vararg is not None) + (arguments.kwarg is not None)


PUBLIC = {"breaking_radii", "corruption_accuracy", "noisy_readings"}


def test_no_function_below_the_commands_takes_more_than_seven_parameters_but_the_public_ones():
    """A longer list is a record that is missing."""
    found: dict[str, int] = {}
    for path in sorted((ROOT / "ibrobust").rglob("*.py")):
        place = path.relative_to(ROOT / "ibrobust").as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            below = not place.startswith("commands/") and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if below and parameters(node) > 7:
                found[f"{place}: {node.name}"] = parameters(node)
    assert {name.rpartition(" ")[2] for name in found} == PUBLIC, found


def test_no_dict_of_anything_carries_settings():
    """The keyword arguments of an attack, or of an estimator of entropy, are its own; an evaluation's settings are the
    record."""
    for path in sorted((ROOT / "ibrobust").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
                name = node.arg if isinstance(node, ast.arg) else ast.unparse(node.target)
                carried = "settings" in name and ast.unparse(node.annotation) in ("dict[str, Any]", "Mapping[str, Any]")
                allowed = path.parent.name in ("attacks", "backends", "entropies")
                assert allowed or not carried, f"{path.name}: {name}"


def words_of(node: ast.AST) -> set[str]:
    """The names of settings in a display of a tuple, list, set or dict."""
    parts = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", [])
    words = {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}
    return words & set(Settings.model_fields)


def test_the_list_of_settings_stands_once():
    """Nowhere but in the record does code spell out more than three of them; the two public functions build one, and
    the registry's kinds of entries are no settings."""
    for path in sorted((ROOT / "ibrobust").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        public = [
            part
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef) and function.name in PUBLIC
            for part in ast.walk(function)
        ]
        for node in ast.walk(tree):
            if path.name not in ("settings.py", "registry.py") and node not in public:
                assert len(words_of(node)) <= 3, f"{path}: {sorted(words_of(node))}"
