"""torchvision, timm and transformers by name: the module is theirs, bit by bit, and nothing is fetched unasked."""

import sys
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file

import ibrobust
from ibrobust.errors import BadInput
from ibrobust.foreign import load_model
from ibrobust.models.answers import logits_in
from tests.model_forms import striped

X = striped(1, channels=3, size=224)[0]
SETTINGS = {"eps": "0.001,0.01,0.1", "attacks": "fgsm", "health": "ignore"}


def same_radii(model: torch.nn.Module, other: torch.nn.Module, x=X) -> bool:
    """With the classes that they predict as labels: weights are random, and what is wrong already is not attacked."""
    y = logits_in(other(x))[0].argmax(1)
    ours, theirs = (ibrobust.breaking_radii(one, x, y, **SETTINGS) for one in (model, other))
    assert theirs.clean == 1
    return ours.rows.equals(theirs.rows)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No weights on disk."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def test_torchvision_by_name_is_torchvisions_network(tmp_path):
    from torchvision.models import resnet18

    torch.manual_seed(0)
    theirs = resnet18(num_classes=4).eval()
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    state = torch.get_rng_state()
    with pytest.warns(match=r"trained with mean 0\.485, 0\.456, 0\.406 and std"):
        model = load_model("torchvision:resnet18", arguments={"num_classes": 4}, weights=tmp_path / "w.safetensors")
    assert torch.equal(torch.get_rng_state(), state)
    assert same_radii(model, theirs, striped(2, channels=3, size=32)[0])


def test_weights_of_torchvision_that_are_not_on_disk(nowhere):
    with pytest.raises(
        BadInput, match=r"not on disk \(.*resnet18-f37072fd\.pth\); download \(--download\) fetches them"
    ):
        load_model("torchvision:resnet18")
    with pytest.raises(BadInput, match="no weights 'V7' of it; choose from IMAGENET1K_V1, DEFAULT"):
        load_model("torchvision:resnet18", arguments={"weights": "V7"})
    with pytest.raises(BadInput, match=r"no model 'resnet81' in torchvision; it has \d+, such as resnet18"):
        load_model("torchvision:resnet81")
    with pytest.raises(BadInput, match=r"torchvision raised TypeError: .*unexpected keyword argument 'depth'"):
        load_model("torchvision:resnet18", weights="w.pt", arguments={"depth": 3})


def test_weights_of_torchvision_that_are_on_disk(nowhere):
    from torchvision.models import squeezenet1_1

    theirs = squeezenet1_1().eval()
    (nowhere / "checkpoints").mkdir()
    torch.save(theirs.state_dict(), nowhere / "checkpoints" / "squeezenet1_1-b8a52dc0.pth")
    model = load_model("torchvision:squeezenet1_1", normalise="half")
    x = X[:1, :, :64, :64]
    assert torch.equal(model(x), theirs((x - 0.5) / 0.5))


def test_weights_are_fetched_where_that_is_asked_for(nowhere, monkeypatch):
    from torchvision.models import _api, resnet18

    fetched, theirs = [], resnet18().eval()
    monkeypatch.setattr(_api, "load_state_dict_from_url", lambda url, **_: fetched.append(url) or theirs.state_dict())
    model = load_model("torchvision:resnet18", normalise="half", download=True)
    assert torch.equal(model.model.fc.weight, theirs.fc.weight)
    assert [url.rpartition("/")[2] for url in fetched] == ["resnet18-f37072fd.pth"]


def test_timm_by_name_is_timms_vision_transformer(nowhere):
    timm = pytest.importorskip("timm")
    arguments = {"depth": 1, "num_classes": 4}
    theirs = timm.create_model("vit_tiny_patch16_224", **arguments).eval()
    save_file(theirs.state_dict(), nowhere / "w.safetensors")
    given = {"arguments": arguments, "weights": nowhere / "w.safetensors"}
    model = load_model("timm:vit_tiny_patch16_224", **given, normalise="own")
    half = load_model("timm:vit_tiny_patch16_224", **given, mean=0.5, std=0.5)
    assert torch.equal(model(X), half(X))
    assert same_radii(model, torch.nn.Sequential(Half(), theirs))
    for name, message in {
        "vit_tiny_patch16_224": r"its weights are not on disk; download \(--download\) fetches them",
        "vit_teeny": r"no model 'vit_teeny' in timm; it has \d+, such as ",
        "vit_tiny_patch16_224.nobodys": "timm raised RuntimeError: Invalid pretrained tag",
    }.items():
        with pytest.raises(BadInput, match=message):
            load_model(f"timm:{name}")


class Half(torch.nn.Module):
    def forward(self, x):
        return (x - 0.5) / 0.5


class TestHuggingFace:
    @pytest.fixture(scope="class")
    @staticmethod
    def folder(tmp_path_factory):
        transformers = pytest.importorskip("transformers")
        place = tmp_path_factory.mktemp("hf")
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        config = transformers.ViTConfig(**sizes, image_size=16, patch_size=8, num_labels=4)
        torch.manual_seed(0)
        model = transformers.ViTForImageClassification(config).eval()
        model.save_pretrained(place / "whole")
        config.save_pretrained(place / "config")
        save_file(model.state_dict(), place / "w.safetensors")
        short = {key: value for key, value in model.state_dict().items() if key != "classifier.weight"}
        config.save_pretrained(place / "short")
        save_file(short, place / "short" / "model.safetensors", metadata={"format": "pt"})
        return place, model

    def test_a_classifier_by_its_folder(self, folder):
        place, theirs = folder
        x, y = striped(6, channels=3, size=16)
        models = load_model(f"hf:{place}/whole"), load_model(f"hf:{place}/config", weights=place / "w.safetensors")
        assert all(same_radii(model, theirs, x) for model in models)
        (place / "named.toml").write_text('model = "hf:whole"\n')
        assert torch.equal(load_model(f"{place}/named.toml")(x).logits, theirs(x).logits)
        with pytest.warns(match=r"an object of type ImageClassifierOutput, of which \.logits is taken"):
            ibrobust.breaking_radii(models[0], x, y, eps="0.1", attacks="fgsm")

    def test_what_cannot_be_used(self, folder, nowhere):
        place, _ = folder
        for text, arguments, message in (
            ("hf:nobody/nothing", {}, r"it is no folder, and not on disk otherwise; download \(--download\)"),
            (f"hf:{place}/config", {}, "no file named model.safetensors"),
            (f"hf:{place}/short", {}, "its weights lack classifier.weight, which would be random"),
            (f"hf:{place}/whole", {"num_labels": 7}, "another shape of classifier.bias and 1 more"),
            (f"hf:{place}/whole", {"lables": 7}, "its configuration has no 'lables'"),
        ):
            with pytest.raises(BadInput, match=message) as refusal:
                load_model(text, arguments=arguments)
            assert "\n" not in str(refusal.value)


def test_robustbench_is_asked_as_its_documentation_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = []
    made = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4))
    library = ModuleType("robustbench.utils")
    library.load_model = lambda **given: asked.append(given) or made
    monkeypatch.setitem(sys.modules, "robustbench", ModuleType("robustbench"))
    monkeypatch.setitem(sys.modules, "robustbench.utils", library)
    with pytest.raises(BadInput, match=r"its weights are not in 'models/cifar10/L2'; download \(--download\)"):
        load_model("robustbench:Best", arguments={"threat_model": "L2"})
    with pytest.raises(BadInput, match="no argument 'norm'; it has dataset, threat_model, model_dir"):
        load_model("robustbench:Best", arguments={"norm": "L2"})
    assert load_model("robustbench:Best", download=True) is made
    (place := tmp_path / "models" / "cifar10" / "L2").mkdir(parents=True)
    (place / "Best.pt").touch()
    assert load_model("robustbench:Best", arguments={"threat_model": "L2"}) is made
    common = {"model_name": "Best", "dataset": "cifar10", "model_dir": "models"}
    assert asked == [{**common, "threat_model": "Linf"}, {**common, "threat_model": "L2"}]


@pytest.mark.parametrize(("text", "library", "extra"), [
    ("timm:resnet18", "timm", "timm"), ("hf:some/model", "transformers", "hf"), ("robustbench:Best", "robustbench", ""),
])  # fmt: skip
def test_a_library_that_is_missing(monkeypatch, text, library, extra):
    for name in [known for known in sys.modules if known.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    advice = rf": pip install 'ibrobust\[{extra}\]'" if extra else "$"
    with pytest.raises(BadInput, match=rf"^model '{text}' needs {library}.*, which cannot be imported \(.*\){advice}"):
        load_model(text)
