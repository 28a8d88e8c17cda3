"""Loading anybody's model, and what is said about it before the first attack."""

import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from ibrobust.errors import BadInput
from ibrobust.robustness.health import health, require_healthy
from ibrobust.subjects.formats import load_model

CLASSES = 4
SAMPLES = 128


def striped_images() -> tuple[Tensor, Tensor]:
    """Black 8 × 8 images with two bright rows that tell the class: a linear model gets them all right."""
    y = torch.arange(SAMPLES) % CLASSES
    x = torch.rand(SAMPLES, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.2
    for sample, label in enumerate(y.tolist()):
        x[sample, 0, 2 * label : 2 * label + 2] += 0.6
    return x, y


class Answer(nn.Module):
    """Row sums as logits, passed through something that goes wrong."""

    def __init__(self, wrong: Callable[[Tensor], object] = lambda logits: logits) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.wrong = wrong

    def forward(self, x: Tensor) -> object:
        return self.wrong(self.scale * x.view(len(x), CLASSES, -1).mean(2))


def of_scaled_pixels(scale: Callable[[Tensor], Tensor]) -> nn.Module:
    """Right on pixels in another range: it compares each row's brightness with the middle of that range."""

    class Scaled(Answer):
        def forward(self, x: Tensor) -> object:
            brightness = x.view(len(x), CLASSES, -1).mean(2)
            below_middle = (brightness < scale(torch.tensor(0.35))).float()
            first_above = torch.cumprod(below_middle, 1).sum(1, keepdim=True).clamp(max=CLASSES - 1)
            return self.scale * (-(torch.arange(CLASSES) - first_above).abs() + 0 * brightness)

    return Scaled()


def test_a_sound_model_has_no_findings() -> None:
    model = Answer()
    model.train()
    assert health(model, *striped_images()) == []
    assert model.training, "as it was"
    assert model.scale.requires_grad, "as it was"


def test_pixels_may_be_bytes() -> None:
    x, y = striped_images()
    assert health(Answer(), (x * 255).to(torch.uint8), y) == []


REFUSED = {
    "raises": (Answer(lambda logits: logits @ torch.zeros(7, 7)), r"it raised RuntimeError: .* on images of shape \("),
    "a tuple": (
        Answer(lambda logits: (None, logits)),
        r"it returned an object of type tuple that holds NoneType, shape \(64, 4\), not a tensor of logits",
    ),
    "two tensors": (
        Answer(lambda logits: {"a": logits, "b": logits, "n": 3}),
        r"type dict that holds 'a': shape \(64, 4\), 'b': shape \(64, 4\), 'n': int, not a tensor of logits",
    ),
    "one score": (Answer(lambda logits: logits[:, :1]), r"it returned shape \(64, 1\) for images of shape"),
    "a map": (Answer(lambda logits: logits[:, :, None]), r"returned shape \(64, 4, 1\).* logits are \(64, classes\)"),
    "a batch's mean": (Answer(lambda logits: logits.mean(0, keepdim=True)), r"it returned shape \(1, 4\)"),
    "classes": (Answer(lambda logits: logits.argmax(1, keepdim=True).repeat(1, 4)), "it returned torch.int64"),
    "too few classes": (Answer(lambda logits: logits[:, :3]), "it knows 3 classes, but the data has label 3"),
    "NaN": (Answer(lambda logits: logits.log() - torch.inf), "its logits are NaN or infinite on 128 of 128 samples"),
    "probabilities": (Answer(lambda logits: logits.softmax(1)), "it returns probabilities .* return the logits"),
    "no gradient": (Answer(lambda logits: logits.detach()), "no gradient reaches its pixels"),
    "NaN gradient": (Answer(lambda logits: logits + 0 * (logits - logits).sqrt()), "gradient .* is NaN or infinite"),
    "pixels of 0 … 255": (of_scaled_pixels(lambda x: 255 * x), r"right on 25.0% .* but on 100.0% when .* in 0 … 255"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    model, message = REFUSED[case]
    with pytest.raises(BadInput, match=f"^the model cannot be evaluated: .*{message}") as refusal:
        require_healthy(model, *striped_images())
    assert "\n" not in str(refusal.value)


class Dropping(Answer):
    """Noise that evaluation mode does not switch off."""

    def forward(self, x: Tensor) -> object:
        return super().forward(x) + 0.2 * torch.randn(len(x), CLASSES)


class MixedUp(Answer):
    """Normalises with the batch at hand, in evaluation mode too."""

    def forward(self, x: Tensor) -> object:
        logits = super().forward(x)
        return logits - logits.mean(0) * (logits > 0)


WARNED = {
    "an object": (
        Answer(lambda logits: SimpleNamespace(logits=logits, loss=None)),
        r"SimpleNamespace, of which \.logits",
    ),
    "a dict": (
        Answer(lambda logits: {"score": logits, "loss": None}),
        "type dict, of which the entry 'score' is taken",
    ),
    "a dict of logits": (Answer(lambda logits: {"z": logits, "logits": logits}), "the entry 'logits' is taken"),
    "a pair": (Answer(lambda logits: (logits, logits[:, :1])), "type tuple, of which the first of 2 entries is taken"),
    "noise": (Dropping(), r"it answers differently when asked twice: \d+\.\d% of the predictions change"),
    "batch statistics": (MixedUp(), "depend on the other samples in its batch"),
    "zero gradient": (Answer(lambda logits: logits * 1e6), "cross-entropy is exactly zero on 100.0% of the samples"),
    "at chance": (Answer(lambda logits: -logits), r"right on 0.0% of the clean samples, which is chance \(25.0%\)"),
}


@pytest.mark.parametrize("case", WARNED)
def test_warned(case: str) -> None:
    model, message = WARNED[case]
    warnings = require_healthy(model, *striped_images())
    assert any(re.search(message, warning) for warning in warnings), warnings
    assert not any("\n" in warning for warning in warnings)


def test_another_pixel_range_that_is_only_better_is_a_warning() -> None:
    """Right on half of the samples where it should be on all: no reason to refuse, a reason to say so."""

    class Halfway(Answer):
        def forward(self, x: Tensor) -> object:
            logits = self.scale * x.view(len(x), CLASSES, -1).mean(2)
            in_unit_range = x.amin((1, 2, 3)) >= 0
            even = logits.argmax(1) % 2 == 0
            return torch.where((in_unit_range & even)[:, None], logits.roll(1, dims=1), logits)

    (warning,) = require_healthy(Halfway(), *striped_images())
    assert re.search(r"right on 50.0% .* but on 100.0% when their pixels are in −1 … 1", warning)


def test_chance_in_another_pixel_range_is_no_reason_to_refuse() -> None:
    """Never right, but on one class of four with pixels in −1 … 1: an untrained model, whatever its pixels are."""

    class Constant(Answer):
        def forward(self, x: Tensor) -> object:
            wrong = 2 * torch.eye(CLASSES + 1)[-1]
            right = 2 * torch.eye(CLASSES + 1)[0]
            outside = (x.amin((1, 2, 3)) < 0)[:, None]
            return self.scale * torch.where(outside, right, wrong) + 0 * x.sum((1, 2, 3))[:, None]

    warning = require_healthy(Constant(), *striped_images())[-1]
    assert re.search(r"right on 0.0% of the clean samples, which is chance \(25.0%\)", warning), warning


def test_one_class_of_data_says_nothing_about_chance() -> None:
    x, y = striped_images()
    assert health(Answer(), x[y == 2], y[y == 2]) == []


def written(folder: Path, text: str) -> Path:
    file = folder / "their_model.py"
    file.write_text(textwrap.dedent(text))
    return file


def test_a_factory_is_called_and_may_import_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "layers_of_theirs.py").write_text("from torch import nn\nLAYER = nn.Flatten\n")
    file = written(
        tmp_path,
        """
        from layers_of_theirs import LAYER
        from torch import nn

        def network():
            return nn.Sequential(LAYER(), nn.Linear(64, 4))
        """,
    )
    model = load_model(f"{file}:network")
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 4)


@pytest.mark.parametrize(
    ("content", "factory", "message"),
    [
        ("", "network", "no function 'network' in the file; it defines none"),
        ("def net(): ...\ndef other(): ...", "network", "it defines net, other"),
        ("network = 3", "network", "no function 'network'"),
        ("def network(:", "network", "the file raised SyntaxError"),
        ("raise OSError('no weights\\nhere')", "network", "the file raised OSError: no weights$"),
        ("import sys; sys.exit(3)", "network", "the file raised SystemExit: 3"),
        ("import no_such_module_of_theirs", "network", "the file raised ModuleNotFoundError: No module named"),
        ("def network(): return 1 / 0", "network", r"network\(\) raised ZeroDivisionError: division by zero"),
        ("def network(width): ...", "network", r"network\(\) raised TypeError: .*missing 1 required"),
        ("def network(): ...", "network", r"network\(\) returned None, not an nn.Module"),
        ("def network(): return dict()", "network", "returned an object of type dict, not an nn.Module"),
        ("from torch import nn\nnetwork = nn.Linear", "network", "raised TypeError"),
    ],
)
def test_what_cannot_be_loaded_is_one_clear_line(tmp_path: Path, content: str, factory: str, message: str) -> None:
    file = written(tmp_path, content)
    with pytest.raises(BadInput, match=message) as refusal:
        load_model(f"{file}:{factory}")
    assert "\n" not in str(refusal.value)
    assert str(file) in str(refusal.value)


@pytest.mark.parametrize("model", ["their_model.py", ":network", "their_model.py:", "their_model.py:a b"])
def test_a_model_is_a_file_and_a_factory(model: str) -> None:
    with pytest.raises(BadInput, match=r"write FILE\.py:FACTORY"):
        load_model(model)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"there is no file '.*nowhere\.py'"):
        load_model(f"{tmp_path}/nowhere.py:network")
    text = tmp_path / "weights.pt"
    text.write_text("not python")
    with pytest.raises(BadInput, match=r"'weights\.pt' is not a Python file"):
        load_model(f"{text}:network")
