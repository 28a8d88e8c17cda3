"""What is said about a model beside its name: arguments, weights, pixels, classes; all of it counts in the digests."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ibrobust.__main__ import main
from ibrobust.errors import BadInput
from ibrobust.experiments.evaluation import evaluate_subject
from ibrobust.experiments.subject import foreign_subject
from ibrobust.foreign import load_model
from ibrobust.robustness.question import Execution
from ibrobust.robustness.settings import make_settings
from ibrobust.robustness.storage import card_in
from ibrobust.subjects.formats import loaded, model_options
from ibrobust.subjects.formats.options import parsed_arguments
from tests.model_forms import SOURCE, network, save_data, striped

X = striped(6)[0]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(SOURCE)
    return tmp_path


def test_arguments_are_literals_of_toml_or_json_or_texts():
    found = parsed_arguments([
        "depth=18", "rate=0.5", "on=true", "off=null", "sizes=[1, 2]", 'quoted="18"', "weights=w.safetensors",
        "a-b=c=d", 'table={"k": 1}', "inline={k = 1}", "day=2026-01-01", "empty=",
    ])  # fmt: skip
    assert found == {
        "depth": 18, "rate": 0.5, "on": True, "off": None, "sizes": [1, 2], "quoted": "18", "weights": "w.safetensors",
        "a_b": "c=d", "table": {"k": 1}, "inline": {"k": 1}, "day": "2026-01-01", "empty": "",
    }  # fmt: skip


@pytest.mark.parametrize("texts", [["depth"], ["=3"], ["a b=3"], ["depth=1", "depth=2"]])
def test_arguments_that_are_none(texts):
    with pytest.raises(BadInput, match=r"^model-arg '.*': (write key=value|depth is given twice)"):
        parsed_arguments(texts)


def test_a_normalisation_stands_inside(folder):
    model = load_model("net.py:make", mean="0.25", std=[0.5])
    assert torch.equal(model(X), network()((X - 0.25) / 0.5))
    colour = load_model("net.py:make", mean="0.1,0.2,0.3", std="1,1,1")
    with pytest.raises(BadInput, match="mean has 3 numbers, and the images have 1 channels"):
        colour(X)


@pytest.mark.parametrize(("given", "message"), [
    ({"mean": 0.5}, "^mean stands alone"),
    ({"mean": "a", "std": "1"}, "'a' is not one number per channel"),
    ({"mean": "0.1,0.2", "std": "1,1,1"}, "mean has 2 numbers and std 3"),
    ({"mean": "0.5", "std": "0"}, r"std \[0\.0\]: every number has to be above 0"),
    ({"mean": "123.7", "std": "58"}, "is for pixels in 0 … 255; .* divide it and std by 255"),
    ({"mean": "nan", "std": "1"}, "is not one finite number"),
    ({"normalise": "imagenet", "mean": "0", "std": "1"}, "normalise 'imagenet': leave it out beside mean and std"),
    ({"normalise": "cifar"}, "no normalise 'cifar'; choose from imagenet, half, own"),
    ({"normalise": "own"}, "normalise 'own': nothing says what it was trained with"),
    ({"wieghts": "w.pt"}, "^a model has no option 'wieghts'; choose from arguments, weights"),
])  # fmt: skip
def test_options_that_cannot_be_used(folder, given, message):
    with pytest.raises(BadInput, match=message) as refusal:
        load_model("net.py:make", **given)
    assert "\n" not in str(refusal.value)


MAPS = {
    "outputs": ("m.txt", "2\n0\n"),
    "names": ("m.txt", "# of the model\ncat 2\n\ndog\t0\n"),
    "names in another order": ("m.txt", "dog, 0\ncat, 2\n"),
    "labels": ("m.txt", "1 0\n0 2\n"),
    "JSON": ("m.json", "[2, 0]"),
    "JSON by name": ("m.json", '{"dog": 0, "cat": 2}'),
}


@pytest.mark.parametrize("form", MAPS)
def test_classes_map_labels_to_outputs(folder, form):
    name, text = MAPS[form]
    (folder / name).write_text(text)
    model = load_model("net.py:make", classes=name, class_names=("cat", "dog"), shape=(1, 8, 8))
    assert torch.equal(model(X), network()(X)[:, [2, 0]])


@pytest.mark.parametrize(("text", "message"), [
    ("cat 2\n", "class 'dog' of the data is missing"),
    ("cat 2\ndog 0\nemu 1\n", "the data has no class 'emu'; it has cat, dog"),
    ("cat 2\ndog 2\n", "labels 0 and 1 both have output 2"),
    ("cat 2\n0\n", "some lines have a name and some have none"),
    ("cat 2\ncat 1\n", "'cat' comes twice"),
    ("2\n1\n0\n", "it has 3 classes and the data 2"),
    ("cat two\n", "line 'cat two'; write NAME OUTPUT"),
    ("cat 2\ndog 4\n", "classes names output 4; the model has 4 outputs, from 0"),
])  # fmt: skip
def test_classes_that_do_not_fit(folder, text, message):
    (folder / "m.txt").write_text(text)
    with pytest.raises(BadInput, match=message):
        load_model("net.py:make", classes="m.txt", class_names=("cat", "dog"), shape=(1, 8, 8))


def test_the_note_on_an_answer_is_made_with_classes_too(folder):
    (folder / "pair.py").write_text(
        "import net\nclass Pair(type(net.make())):\n    def forward(self, x):\n        return super().forward(x), 1\n"
        "def make():\n    return Pair(*net.make())\n"
    )
    with pytest.warns(match="of which the first of 2 entries is taken"):
        model = load_model("pair.py:make", classes=(3, 1), shape=(1, 8, 8))
    assert torch.equal(model(X), network()(X)[:, [3, 1]])


def test_weights_have_to_fit_to_the_last_key(folder):
    right = network().state_dict()
    cases = {
        "'0.bias' is missing; 1 more keys differ": {
            key: right[key] for key in right if key not in ("0.bias", "7.bias")
        },
        "the model has no '9.weight'$": {**right, "9.weight": torch.zeros(2)},
        r"'5.weight' is \(16, 64\) in the file and \(16, 128\) in the model": {
            **right,
            "5.weight": torch.zeros(16, 64),
        },
        r"'0.bias' is torch.int64 in the file": {**right, "0.bias": torch.zeros(8, dtype=torch.int64)},
    }
    for message, state in cases.items():
        save_file(state, folder / "w.safetensors")
        with pytest.raises(BadInput, match=f"weights 'w.safetensors' do not fit: {message}"):
            load_model("net.py:make", weights="w.safetensors")


def test_weights_in_wrappers_are_found_and_said(folder):
    other = network()
    nn.init.normal_(other[0].weight)
    state = {f"module._orig_mod.{key}": value for key, value in other.state_dict().items() if "tracked" not in key}
    torch.save({"epoch": 3, "model": state}, folder / "w.pt")
    found = loaded("net.py:make", model_options({"weights": "w.pt"}))
    assert torch.equal(found.module(X), other(X))
    assert found.notes == [
        "of w.pt the entry 'model' is taken, beside epoch, model",
        "the keys of the weights are taken without their prefix 'module.'",
        "the keys of the weights are taken without their prefix '_orig_mod.'",
    ]


def test_everything_that_is_said_counts_in_the_digests(folder):
    save_file(network(width=8).state_dict(), folder / "w.safetensors")
    (folder / "m.txt").write_text("1\n0\n")
    asked = [{}, {"arguments": {"width": 8}}, {"normalise": "half"}, {"mean": 0.4, "std": 0.5}, {"classes": "m.txt"},
             {"classes": (2, 0)}]  # fmt: skip
    found = [loaded("net.py:make", model_options(options)).digests for options in asked]
    assert len({json.dumps(one) for one in found}) == len(asked)
    assert len({one["weights_sha256"] for one in found}) == 1, "they are the model's own"
    same = loaded("net.py:make", model_options({"mean": "0.5", "std": "0.5"})).digests
    assert same == found[2], "however it is said"
    assert loaded("net.py:make", model_options({"weights": "w.safetensors"})).digests == found[0]


def test_a_toml_file_says_what_flags_say_and_flags_win(folder):
    (inner := folder / "inner").mkdir()
    (inner / "net.py").write_text(SOURCE)
    save_file(network(width=4).state_dict(), inner / "w.safetensors")
    file = inner / "mine.toml"
    file.write_text('model = "net.py:make"\nweights = "w.safetensors"\nnormalise = "half"\n[arguments]\nwidth = 4\n')
    assert torch.equal(load_model(str(file))(X), network(4)((X - 0.5) / 0.5))
    assert torch.equal(load_model(str(file), mean=0.25, std=1.0)(X), network(4)(X - 0.25))
    with pytest.raises(BadInput, match=r"'0\.weight' is"):
        load_model(str(file), arguments={"width": 5})
    for text, message in {"": "model is missing", 'model = "a.toml"': "name the model itself", "model = 3": "missing",
                          'model = "net.py:make"\ndepth = 3': "no key 'depth'; choose from"}.items():  # fmt: skip
        file.write_text(text)
        with pytest.raises(BadInput, match=message):
            load_model(str(file))


def test_results_are_found_again_only_where_the_same_is_said(folder):
    save_data(folder / "mine.npz", *striped(8))

    def evaluated(**said) -> float | None:
        options = model_options(said)
        subject = foreign_subject("net.py:make", "mine.npz", data_dir=None, download=False, options=options)
        settings = make_settings({"eps": "0.1", "attacks": "fgsm"})
        path, seconds = evaluate_subject(subject, None, settings, Execution(device="cpu"), out=folder / "out")
        source = card_in(path).model.source
        assert (source.model_dump(exclude_none=True) if source else None) == expected
        return seconds

    expected = None
    assert evaluated() is not None
    assert evaluated() is None
    expected = {"format": "python", "arguments": {"width": 8}, "mean": [0.5], "std": [0.5], "outputs": [3, 2, 1, 0]}
    said = {"arguments": {"width": 8}, "normalise": "half", "classes": (3, 2, 1, 0)}
    assert evaluated(**said) is not None
    assert evaluated(**said) is None
    expected = {**expected, "outputs": [3, 2, 0, 1]}
    assert evaluated(**{**said, "classes": (3, 2, 0, 1)}) is not None


def test_verification_asks_for_the_same_normalisation(folder, capsys, monkeypatch):
    save_data(folder / "mine.npz", *striped(8))
    model = ["--model", "net.py:make"]
    asked = ["--data", "mine.npz", "--attacks", "fgsm", "--eps", "0.2", "--keep-images", "--mean", "0.25", "--std", "1"]
    main(["evaluate", *model, *asked])
    main(["verify", "results", *model, "--mean", "0.25", "--std", "1"])
    assert "proven broken: holds" in capsys.readouterr().out
    for words, now in (([], "not given"), (["--mean", "0.5", "--std", "1"], r"\[0\.5\]")):
        with pytest.raises(
            BadInput, match=rf"of a model with mean \[0\.25\], and this one has mean {now}; give --mean"
        ):
            main(["verify", "results", *model, *words])
