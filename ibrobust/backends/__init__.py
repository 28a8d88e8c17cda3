"""The same protocol through other people's libraries, into the same table, so that the numbers can be compared.

One file per library; it is imported when its backend is used, and so is the library.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from ibrobust.attacks import ATTACKS, NORMS, Attack
from ibrobust.backends.adapter import Adapter, library_attack, minimal_library_attack
from ibrobust.errors import BadInput
from ibrobust.images import frozen
from ibrobust.registry import Registry, extension_point
from ibrobust.robustness.breaking_radii import radii_that_break
from ibrobust.robustness.health import require_health_choice, warned_of
from ibrobust.robustness.question import USUALLY, Execution, make_question
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.samples import Samples
from ibrobust.robustness.settings import Settings
from ibrobust.types import Images, Logits

BACKENDS: Registry[Adapter] = extension_point("backend", Adapter)

CONSTANT_STEPS = {"bim": {"step": 1 / 5, "shrinking": False}, "pgd": {"step": 1 / 10, "shrinking": False}}
"""The libraries' steps do not shrink: theirs travel twice the radius in BIM, and four times in PGD."""


class AsItIs(nn.Module):
    """The model as its owner would hand it to a library: out of reach of what makes our own attacks fast."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.hidden = (model,)

    def forward(self, x: Images) -> Logits:
        """The model's logits."""
        logits: Tensor = self.hidden[0](x)
        return logits


def peer_breaking_radii(
    model: nn.Module,
    samples: Samples,
    settings: Settings,
    execution: Execution = USUALLY,
    *,
    health: str = "check",
) -> BreakingRadii:
    """The answer to a question whose attacks are run by a library, every image it returns checked here.

    The library, `settings.backend`, is called with one radius at a time, smallest first, on the samples that still
    stand; its own word on success is not used. Its attacks see the model without latent noise. Unlike the native
    attacks, theirs draw random numbers per batch: the same seed gives the same result for the same batches only.

    Args:
        health: as `breaking_radii` takes it.

    Raises:
        BadInput: as `breaking_radii`, or the library is not installed, or lacks an attack or a norm.
        RunFailed: as `breaking_radii`.
    """
    require_health_choice(health)
    attacks = peer_attacks(settings.backend, settings.attack_names, settings.norm)
    gradients = any(not ATTACKS[name].black_box for name in attacks)
    warned = warned_of(model, samples.x, samples.y, gradients=gradients) if health == "check" else []
    results = radii_by_a_library(model, samples, settings, execution, attacks)
    return replace(results, card=results.card.with_warnings(warned))


def radii_by_a_library(
    model: nn.Module, samples: Samples, settings: Settings, execution: Execution, attacks: Mapping[str, Attack]
) -> BreakingRadii:
    """The same for a model that has been looked at.

    Args:
        attacks: from `peer_attacks`.

    Raises:
        BadInput, RunFailed: as `breaking_radii`.
    """
    place = execution.device or next((parameter.device for parameter in model.parameters()), samples.x.device)
    execution = replace(execution, device=place)
    with frozen(model):
        return radii_that_break(make_question(AsItIs(model), samples, settings, execution, attacks=attacks))


def peer_attacks(backend: str, names: Sequence[str], norm: str) -> dict[str, Attack]:
    """A library's forms of these attacks, with our settings where it can express them (`CONSTANT_STEPS` where not).

    Raises:
        BadInput: the library is not installed, or lacks one of them in this norm.
    """
    adapter = adapter_of(backend)
    lacking = [name for name in names if (name, NORMS[norm].name) not in adapter.attacks]
    if lacking:
        known = sorted(name for name, its_norm in adapter.attacks if its_norm == norm)
        raise BadInput(f"{backend} has no {', '.join(lacking)} in {norm}; it has {', '.join(known) or 'none'}")
    return {name: _peer_attack(adapter, name, norm) for name in names}


def adapter_of(backend: str) -> Adapter:
    """Imports the library.

    Raises:
        BadInput: it is not installed.
    """
    try:
        return BACKENDS[backend]
    except ModuleNotFoundError as error:
        raise BadInput(f"backend {backend!r} is not installed ({error}): pip install 'ibrobust[peers]'") from error


def _peer_attack(adapter: Adapter, name: str, norm: str) -> Attack:
    native, peer = ATTACKS[name], adapter.attacks[name, norm]
    form = minimal_library_attack if native.minimal else library_attack
    settings = {**native.settings, **CONSTANT_STEPS.get(name, {})}
    if peer.deviation:
        settings["deviation"] = peer.deviation
    return Attack(partial(form, peer.run), minimal=native.minimal, settings=settings)
