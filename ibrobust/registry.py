"""Every extension point: one table from a name to where its entry is defined.

Look-up, `--help` and messages read the same table, so that they cannot differ. A name is known without importing
anything; its module is imported when the entry is first looked up. A plugin adds entries of its own to the same table.
"""

import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

from ibrobust.errors import BadInput

Entry = TypeVar("Entry")

_NAME = re.compile(r"[A-Za-z0-9]+([._-][A-Za-z0-9]+)*")
"""Names become parts of file names and of lists on the command line."""


class _Home(NamedTuple):
    """Where an entry is defined that nobody has looked up yet."""

    module: str
    attribute: str


class _NoSuchName(BadInput, KeyError):
    """Both what a command line reports in one line and what a mapping raises."""

    __str__ = BadInput.__str__


class Registry(MutableMapping[str, Entry]):
    """The entries of one extension point by name, in the order in which they were declared.

    Args:
        kind: what the entries are called in messages.
        homes: name → `module:attribute` below `ibrobust`, of the entries that come with the package.

    Raises:
        BadInput: a name is looked up that is not there (the message lists those that are), registered a second time, or
            given to an entry of the wrong type.
    """

    def __init__(self, kind: str, homes: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self.type: Any = object
        self.origins: dict[str, str] = {}
        """Name → the plugin that registered it; the package's own entries have none."""
        self._own = frozenset(homes or {})
        self._entries: dict[str, Any] = {
            name: _Home(*f"ibrobust.{address}".split(":")) for name, address in (homes or {}).items()
        }

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """A decorator that registers what it decorates."""

        def keep(entry: Entry) -> Entry:
            self[name] = entry
            return entry

        return keep

    @property
    def choices(self) -> str:
        """The names, sorted, as help and messages list them."""
        return ", ".join(sorted(self))

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            raise _NoSuchName(f"no {self.kind} {name!r}; choose from {self.choices}")
        entry = self._entries[name]
        if isinstance(entry, _Home):
            self._entries[name] = entry = getattr(import_module(entry.module), entry.attribute)
        found: Entry = entry
        return found

    def __setitem__(self, name: str, entry: Entry) -> None:
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise BadInput(f"{self.kind} {name!r}: a name is letters and digits, with single dots, dashes or _ between")
        if name in self._entries:
            origin = "ibrobust" if name in self._own else self.origins.get(name)
            by = f", by {origin}" if origin else ""
            raise BadInput(f"{self.kind} {name!r} is registered already{by}; choose another name")
        if not isinstance(entry, self.type):
            wanted = "a function" if self.type is Callable else f"of type {self.type.__name__}"
            raise BadInput(f"{self.kind} {name!r}: the entry is of type {type(entry).__name__}; it has to be {wanted}")
        self._entries[name] = entry

    def __delitem__(self, name: str) -> None:
        if name not in self._entries:
            raise _NoSuchName(f"no {self.kind} {name!r}; choose from {self.choices}")
        del self._entries[name]
        self.origins.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


EXTENSION_POINTS: dict[str, Registry[Any]] = {
    kind: Registry(kind, homes)
    for kind, homes in {
        "data set": {
            "digits": "datasets.named:digits",
            "mnist": "datasets.named:mnist",
            "fashion-mnist": "datasets.named:fashion_mnist",
            "cifar10": "datasets.named:cifar10",
            "permutation-mnist": "datasets.named:permutation_mnist",
            "imagenette": "datasets.named:imagenette",
        },
        # A text is of the last of them that accepts it.
        "data format": {
            "class-folders": "datasets.image_folders:CLASS_FOLDERS",
            "corrupted-folders": "datasets.corrupted_folders:TREE",
            "listed-folders": "datasets.listed_folders:LISTED",
            "parquet": "datasets.table_folders:PARQUET",
            "saved": "datasets.table_folders:SAVED",
            "corrupted": "datasets.corrupted:CORRUPTED",
            "npy": "datasets.npy:NPY",
            "npz": "datasets.npz:NPZ",
            "python": "datasets.python_data:PYTHON",
        },
        "model": {
            "cnn": "models.cnn:cnn",
            "lenet": "models.cnn:lenet",
            "dropout-cnn": "models.cnn:dropout_cnn",
            "mlp": "models.mlp:mlp",
            "mlp-1024": "models.mlp:mlp_1024",
            "resnet-mlp": "models.mlp:resnet_mlp",
            "resnet18": "models.resnet:resnet18",
            "resnet18v2": "models.resnet:resnet18v2",
            "resnet-small": "models.resnet:resnet_small",
        },
        "regulariser": {
            "none": "learning.objectives:NONE",
            "l2": "learning.objectives:L2",
            "log-l2": "learning.objectives:LOG_L2",
            "logvar": "learning.objectives:LOGVAR",
            "cond-logvar": "learning.objectives:COND_LOGVAR",
            "dvib": "learning.objectives:DVIB",
            "ceb": "learning.objectives:CEB",
            "weight-decay": "learning.objectives:WEIGHT_DECAY",
        },
        "likelihood": {
            "decoder": "learning.objectives:DECODER",
            "prediction": "learning.objectives:PREDICTION",
            "uncertainty": "learning.objectives:UNCERTAINTY",
        },
        "latent noise": {
            "zero-entropy": "models.noise:ZERO_ENTROPY",
            "none": "models.noise:NO_NOISE",
            "learned": "models.noise:LEARNED",
        },
        "augmentation": {
            "none": "learning.augmentation:none",
            "crop": "learning.augmentation:crop",
            "flip": "learning.augmentation:flip",
            "crop-flip": "learning.augmentation:crop_flip",
        },
        "schedule": {
            "plateau": "learning.schedules:plateau",
            "decay": "learning.schedules:decay",
            "one-cycle": "learning.schedules:one_cycle",
            "constant": "learning.schedules:constant",
        },
        # A text is of the last of them that accepts it.
        "model format": {
            "python": "subjects.formats.python:PYTHON",
            "package": "subjects.formats.python:PACKAGE",
            "weights": "subjects.formats.files:WEIGHTS",
            "torchscript": "subjects.formats.files:TORCHSCRIPT",
            "exported": "subjects.formats.exported:EXPORTED",
            "onnx": "subjects.formats.onnx:ONNX",
            "onnxruntime": "subjects.formats.onnxruntime:ONNXRUNTIME",
            "toml": "subjects.formats.files:TOML",
            "torchvision": "subjects.formats.torchvision:TORCHVISION",
            "timm": "subjects.formats.timm:TIMM",
            "hf": "subjects.formats.hugging_face:HUGGING_FACE",
            "robustbench": "subjects.formats.robustbench:ROBUSTBENCH",
        },
        "attack": {
            "apgd-ce": "attacks.apgd:APGD_CE",
            "apgd-dlr": "attacks.apgd:APGD_DLR",
            "apgd-t": "attacks.apgd:APGD_T",
            "decision": "attacks.decisions.attack:DECISION",
            "deepfool": "attacks.deepfool:DEEPFOOL",
            "fab-t": "attacks.fab:FAB_T",
            "fgsm": "attacks.gradient_ascent:FGSM",
            "bim": "attacks.gradient_ascent:BIM",
            "pgd": "attacks.gradient_ascent:PGD",
            "soft-t": "attacks.soft_ascent:SOFT_T",
            "square": "attacks.square:SQUARE",
            "survivors": "attacks.survivors.search:SURVIVORS",
        },
        "norm": {
            "linf": "attacks.norms.linf:LINF",
            "l2": "attacks.norms.l2:L2",
            "l1": "attacks.norms.l1:L1",
        },
        "protocol": {
            "paper": "robustness.protocols:PAPER",
            "strict": "robustness.protocols:STRICT",
            "strongest": "robustness.protocols:STRONGEST",
            "strict-rand": "robustness.protocols:STRICT_RAND",
            "black-box": "robustness.protocols:BLACK_BOX",
            "corruptions": "robustness.protocols:CORRUPTIONS",
        },
        "distance": {"l2": "entropies.entropy:L2", "max": "entropies.entropy:MAX"},
        "search": {"bisect": "robustness.search:bisect", "exhaustive": "robustness.search:exhaustive"},
        "backend": {
            "art": "backends.art:ADAPTER",
            "foolbox": "backends.foolbox:ADAPTER",
            "pyautoattack": "backends.pyautoattack:ADAPTER",
            "torchattacks": "backends.torchattacks:ADAPTER",
        },
        # In the order in which an audit asks.
        "check": {
            "zero-gradient": "checks.gradients:zero_gradient",
            "same-answer": "checks.gradients:same_answer",
            "slope": "checks.gradients:slope",
            "rising-loss": "checks.gradients:rising_loss",
            "planted": "checks.planted:planted",
            "fgsm-beats-pgd": "checks.stronger:fgsm_beats_pgd",
            "fgsm-gap": "checks.stronger:fgsm_gap",
            "square": "checks.stronger:square",
            "effort": "checks.stronger:effort",
            "margin-loss": "checks.stronger:margin_loss",
            "rescaled-logits": "checks.stronger:rescaled_logits",
            "soft-gates": "checks.stronger:soft_gates",
            "strict": "checks.stronger:strict",
            "straight-through": "checks.stand_ins:through_steps",
            "neighbourhood": "checks.stand_ins:neighbourhood",
            "answers": "checks.stand_ins:answers",
            "radius-one": "checks.stronger:radius_one",
            "repeatable": "checks.transfer:repeatable",
            "noise-off": "checks.transfer:noise_off",
            "fixed-noise": "checks.transfer:fixed_noise",
            "twin": "checks.transfer:twin",
        },
        "engine": {"local": "experiments.processes:local", "ray": "experiments.ray_cluster:ray_cluster"},
    }.items()
}
"""Kind → its table. What the package brings along, as `module:attribute` below `ibrobust`."""


def extension_point(kind: str, type: Any) -> Registry[Any]:
    """The table of one kind; the module that defines what an entry is says its type.

    Args:
        kind: a key of `EXTENSION_POINTS`.
        type: every entry that is registered has to be an instance of it.
    """
    registry = EXTENSION_POINTS[kind]
    registry.type = type
    return registry
