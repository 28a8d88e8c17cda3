"""The flags that say which model of your own: `--model`, and one for each field of `ModelOptions`."""

from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ibrobust.commands.command_line import Parser
from ibrobust.errors import BadInput

if TYPE_CHECKING:
    from ibrobust.robustness.card import ResultCard
    from ibrobust.subjects.formats.options import ModelOptions

MODEL = "MODEL"
_FLAGS = {
    "model_arg": ("KEY=VALUE", "an argument of the function that makes --model; may be repeated"),
    "weights": ("FILE", "weights of --model: safetensors, or a state_dict that torch.save wrote"),
    "architecture": (MODEL, "where --model is a file of weights: the model that they are for"),
    "normalise": ("NAME", "normalisation in front of --model: imagenet, half (to -1 … 1), or own (its library's)"),
    "mean": ("M,M,M", "subtracted from the pixels, which are in [0, 1], before --model sees them: per channel, or one"),
    "std": ("S,S,S", "divides the pixels then"),
    "classes": ("FILE", "which output of --model is which label of the data: a line for each label"),
}
"""Flag → what stands behind it, help."""


def add_model_option_flags(parser: Parser) -> None:
    """What `chosen_options` reads, beside `--download`."""
    for name, (metavar, text) in _FLAGS.items():
        action = "append" if name == "model_arg" else "store"
        parser.add_argument(f"--{name.replace('_', '-')}", action=action, default=None, metavar=metavar, help=text)


def chosen_options(options: Namespace) -> "ModelOptions":
    """What the flags say about `--model`.

    Raises:
        BadInput: a value cannot be used.
    """
    from ibrobust.subjects.formats.options import model_options, parsed_arguments

    named = {key: value for key in _FLAGS if key != "model_arg" and (value := getattr(options, key)) is not None}
    arguments = parsed_arguments(options.model_arg or ())
    return model_options({**named, "arguments": arguments, "download": options.download})


def require_no_options(options: Namespace) -> None:
    """Raises:
    BadInput: something is said about a model of one's own where there is none.
    """
    for key in _FLAGS:
        if (value := getattr(options, key)) is not None:
            said = value[0] if isinstance(value, list) else value
            flag = f"--{key.replace('_', '-')}"
            raise BadInput(f"{flag} {said}: a run says everything about its model; {flag} goes with --model")


def require_same_classifier(card: "ResultCard", told: Mapping[str, Any]) -> None:
    """Raises:
    BadInput: what stands around a model now is not what stood around the one that a result is about.
    """
    if card.model is None:
        return
    for key, flags in (("mean", "--mean"), ("std", "--std"), ("outputs", "--classes")):
        then, now = getattr(card.model.source, key, None), told.get(key)
        if then != now:
            raise BadInput(
                f"{card.run}: the results are of a model with {key} {then or 'not given'}, and this one has {key} "
                f"{now or 'not given'}; give {flags} as then"
            )
