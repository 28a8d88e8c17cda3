"""Image classifiers of Hugging Face's transformers: `hf:FOLDER`, or `hf:OWNER/NAME`."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from ibrobust.errors import BadInput
from ibrobust.python_files import said
from ibrobust.subjects.formats.interface import Pixels, Say, behind_prefix, library, no_number_drawn, of_library
from ibrobust.subjects.formats.weights import with_weights

_EXTRA = "hf"
_FAILURES = (OSError, ValueError, TypeError, KeyError, RuntimeError, ImportError)


def _named(model: str, arguments: Mapping[str, Any], weights: Path | None, download: bool, say: Say) -> nn.Module:
    """The classifier in a folder, or of that name where it is on disk or may be fetched; with `weights` of a file,
    the folder needs no more than `config.json`. Code that comes with a model is not run."""
    name, what = behind_prefix(model), f"model {model!r}"
    transformers = library("transformers", what, _EXTRA)
    here = {"local_files_only": not download, "trust_remote_code": False}
    kind = transformers.AutoModelForImageClassification
    try:
        with no_number_drawn(), _silent(transformers.utils.logging):
            config, unknown = transformers.AutoConfig.from_pretrained(
                name, **here, **arguments, return_unused_kwargs=True
            )
            if unknown := [key for key in arguments if key in unknown]:
                raise BadInput(f"{what}: its configuration has no {unknown[0]!r}")
            if weights:
                return with_weights(kind.from_config(config).eval(), weights, what, say)
            module, report = kind.from_pretrained(
                name, config=config, output_loading_info=True, ignore_mismatched_sizes=True, **here
            )
    except BadInput:
        raise
    except _FAILURES as error:
        if not (download or Path(name).is_dir()):
            raise BadInput(
                f"{what}: it is no folder, and not on disk otherwise; download (--download) fetches it"
            ) from error
        raise BadInput(f"{what}: transformers raised {said(error)[:200]}") from error
    _require_all_weights(report, what)
    made: nn.Module = module
    return made


@contextmanager
def _silent(logging: Any) -> Iterator[None]:
    """What transformers has to say is looked at instead (`_require_all_weights`)."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _require_all_weights(report: Mapping[str, Any], what: str) -> None:
    """Raises:
    BadInput: some weights are not in the file, and would be random.
    """
    kinds = (("missing_keys", "lack"), ("mismatched_keys", "have another shape of"))
    for key, words in kinds:
        if found := sorted(one if isinstance(one, str) else str(one[0]) for one in report.get(key) or ()):
            more = f" and {len(found) - 1} more" if found[1:] else ""
            raise BadInput(f"{what}: its weights {words} {found[0]}{more}, which would be random")


def _configuration(_model: str, module: nn.Module) -> str:
    """What its layers do not say of themselves."""
    config = getattr(module, "config", None)
    values = config.to_diff_dict() if config is not None else {}
    unimportant = ("transformers_version", "_name_or_path", "dtype", "torch_dtype")
    kept = {key: value for key, value in values.items() if key not in unimportant}
    return json.dumps(kept, sort_keys=True, default=str)


def _pixels(model: str, _module: nn.Module) -> Pixels | None:
    """What the preprocessor beside the model does after it has divided by 255."""
    name = behind_prefix(model)
    file = Path(name) / "preprocessor_config.json"
    if not Path(name).is_dir():
        hub = library("huggingface_hub", f"model {model!r}", _EXTRA)
        found = hub.try_to_load_from_cache(name, file.name)
        file = Path(found) if isinstance(found, str) else file
    if not file.is_file():
        return None
    values = json.loads(file.read_text(encoding="utf-8"))
    pixels = values.get("image_mean"), values.get("image_std")
    return pixels if values.get("do_normalize", True) and all(isinstance(part, list) for part in pixels) else None


HUGGING_FACE = of_library(
    "hf",
    "transformers",
    ("arguments", "weights", "download", "say"),
    written="hf:FOLDER or hf:NAME",
    load=_named,
    also=_configuration,
    pixels=_pixels,
    extra=_EXTRA,
    holds="an image classifier of transformers: a folder that save_pretrained wrote, or OWNER/NAME",
    example="--model hf:my-vit --data colours.npz",
)
