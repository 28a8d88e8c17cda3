"""The question of an evaluation, checked before the first attack: samples, radii, attacks, norm, noise, batches."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from ibrobust.attacks import ATTACKS, NORMS, Attack, Norm, ask_gradients, protocol_attacks
from ibrobust.cpu.fusion import fused
from ibrobust.cpu.layout import channels_last
from ibrobust.errors import BadInput
from ibrobust.images import as_images, frozen
from ibrobust.models.answers import Classifier, OfLabels, as_module
from ibrobust.models.bottleneck import Bottleneck, View, attacked_view
from ibrobust.plugins import digests_of
from ibrobust.robustness.card import QueryCount, ResultCard
from ibrobust.robustness.evidence import Kept
from ibrobust.robustness.first_queries import check_model
from ibrobust.robustness.health import require_health_choice, warned_of
from ibrobust.robustness.samples import Samples
from ibrobust.robustness.settings import Settings, make_settings
from ibrobust.robustness.transfer import Source
from ibrobust.robustness.work import Work
from ibrobust.types import Images, Labels

_BLOCK_PIXELS = 2**22
"""Pixels attacked at a time: 5000 digits of 28 × 28, 1300 CIFAR images. Memory does not grow with the data."""

Block = tuple[Images, Labels, Int[Tensor, " batch"]]
"""Images, labels and ids of the samples that are attacked together."""

Proofs = Literal["never", "auto", "always"]

Progress = Callable[[str, int], None]
"""Told (attack, samples) when an attack has finished so many samples."""


def untold(_attack: str, _samples: int) -> None:
    """Where nobody wants to know."""


Chosen = Mapping[str, Attack] | Sequence[str] | str | None
"""Attacks as callers choose them: by name with their settings, names, names in one text with commas, or none."""

Accounts = dict[str, dict[str, int]]
"""Forward and gradient evaluations by attack, and of the clean images, summed over samples."""


@dataclass(frozen=True)
class Execution:
    """How the work is done; it changes speed and memory, not the result.

    Attributes:
        batch_size: samples per pass through the model.
        device: where the model runs; where its parameters are by default.
        progress: told when an attack has finished some samples.
        kept: which adversarial images are kept as evidence.
        work: the account of an evaluation that this question is a part of.
        certified: by the sample's number a radius that is proven; no attack is made up to it.
        proofs: whether a block's radii are certified first, by linear bounds, and handed on as `certified`; `auto`
            says so where that takes less than the attacks that it saves.
    """

    batch_size: int | None = None
    device: str | torch.device | None = None
    progress: Progress = untold
    kept: Kept = "none"
    work: Work | None = None
    certified: Mapping[int, float] | None = None
    proofs: Proofs = "never"


USUALLY = Execution()


@dataclass(frozen=True)
class Question:
    """Samples, and how they are attacked; all of it usable.

    Attributes:
        seen: the model as attacks see it, or where there is a source as their images are scored.
        source: the model that attacks see, where it is another one.
    """

    model: nn.Module
    samples: Samples
    settings: Settings
    attacks: Mapping[str, Attack]
    seen: View
    source: Source | None
    batch_size: int
    device: torch.device
    progress: Progress
    kept: Kept
    work: Work
    certified: Mapping[int, float] | None = None

    @property
    def norm(self) -> Norm:
        return NORMS[self.settings.norm]

    @property
    def gradients(self) -> bool:
        """Whether the model is asked for gradients."""
        return self.source is None and ask_gradients(self.attacks.values())

    @property
    def positive_E(self) -> Tensor:
        """The radii above 0."""
        radii = [radius for radius in self.settings.radii if radius > 0]
        return torch.tensor(radii, dtype=torch.float32, device=self.device)

    @contextmanager
    def blocks(self) -> Iterator[Iterator[Block]]:
        """The samples in blocks that fit in memory, the model frozen meanwhile; its first answer is checked before."""
        x, y, ids = self.samples
        size = max(self.batch_size, _BLOCK_PIXELS // x[0].numel())
        first = as_images(x[:1].to(self.device))
        with frozen(self.model), channels_last(self.model, first), fused(self.model, first), self._source_frozen():
            classes = check_model(self.seen, first, y.to(self.device), gradient=self.gradients)
            if self.source:
                self.source.check(first, y.to(self.device), classes, ask_gradients(self.attacks.values()))
            yield (
                (as_images(x[rows].to(self.device)), y[rows].to(self.device), ids[rows].to(self.device))
                for rows in (slice(start, start + size) for start in range(0, len(x), size))
            )

    def _source_frozen(self) -> AbstractContextManager[None]:
        return frozen(self.source.model) if self.source else nullcontext()

    def card(self, accounts: Sequence[Accounts]) -> ResultCard:
        """The card of the answer.

        Args:
            accounts: the queries of each block.
        """
        return ResultCard(
            settings=self.settings,
            attacks={name: attack.settings for name, attack in self.attacks.items()},
            queries=summed(accounts),
            draws=self.seen.draws or None,
            plugins=digests_of(self.settings.names) or None,
        )


def make_question(
    model: Classifier,
    samples: Samples,
    settings: Settings,
    execution: Execution = USUALLY,
    *,
    attacks: Mapping[str, Attack] | None = None,
    source: Classifier | None = None,
) -> Question:
    """Names looked up, defaults filled in.

    Args:
        attacks: stand for the names in `settings.attacks`; registered ones by default.
        source: the model that attacks see, where `settings.transfer_from` names one.

    Raises:
        BadInput: an argument cannot be used.
    """
    model = as_module(model)
    if settings.corrupts and attacks is None:
        raise BadInput(f"protocol {settings.protocol!r} has no attacks; call corruption_accuracy")
    chosen = chosen_attacks(settings) if attacks is None else attacks
    _require_served(settings, chosen)
    if chosen and all(attack.decisions for attack in chosen.values()) and not isinstance(model, Bottleneck):
        model = OfLabels(model, int(samples.y.max()) + 1)
    if any(parameter.is_inference() for parameter in model.parameters()):
        raise BadInput("the model was made in torch.inference_mode, which no gradient passes; make it outside")
    place = _device(execution.device, model, samples.x)
    batch_size = _default_batch_size(samples.x, place) if execution.batch_size is None else execution.batch_size
    if batch_size < 1:
        raise BadInput(f"batch_size {batch_size} is not 1 or more")
    work = execution.work or Work()
    seen, other = attacked_view(model, settings.view), None if source is None else Source.of(source, place)
    if execution.work:
        seen, other = work.watched(seen), other and other.watched(work)
    assert NORMS[settings.norm], "looked up before the first attack"
    told = execution.progress, execution.kept, work, execution.certified
    return Question(model, samples, settings, chosen, seen, other, batch_size, place, *told)


def _require_served(settings: Settings, attacks: Mapping[str, Attack]) -> None:
    """Raises:
    BadInput: an attack cannot serve the view, or has no targets.
    """
    quiet = [name for name, attack in attacks.items() if not attack.noise]
    if settings.view != "mean" and quiet:
        raise BadInput(f"attack {quiet[0]!r} cannot serve view {settings.view!r}: it goes with view 'mean'")
    aimless = [name for name, attack in attacks.items() if not attack.targets]
    if settings.target_class and aimless:
        raise BadInput(f"attack {aimless[0]!r} cannot serve target_class {settings.target_class!r}: it has no target")


def settings_of_call(given: Mapping[str, object], protocol: str, attacks: Chosen, *, usual: str) -> Settings:
    """What the arguments of a Python call ask.

    Args:
        given: all other settings.
        usual: the protocol where none is named; it gives way to attacks.

    Raises:
        BadInput: one of them cannot be used.
    """
    if attacks is None:
        return make_settings({**given, "protocol": protocol})
    if isinstance(attacks, Mapping):
        for name, attack in attacks.items():
            if not isinstance(attack, Attack):
                raise BadInput(f"attacks[{name!r}] is a {type(attack).__name__}, not an Attack")
    named = {} if protocol == usual else {"protocol": protocol}
    settings = make_settings({**given, **named, "attacks": [*attacks] if isinstance(attacks, Mapping) else attacks})
    return settings.model_copy(update={"attacks": tuple(attacks)}) if isinstance(attacks, Mapping) else settings


def chosen_attacks(settings: Settings) -> dict[str, Attack]:
    """The attacks of a question by name, those with random starts or generations given as many as it says.

    Raises:
        BadInput: there is no such protocol or attack.
    """
    by_protocol = settings.attacks is None
    attacks = (
        protocol_attacks(settings.protocol) if by_protocol else {name: ATTACKS[name] for name in settings.attack_names}
    )
    said = {"restarts": settings.restarts, "generations": settings.generations}
    return {
        name: attack.with_settings({key: value for key, value in said.items() if key in attack.settings})
        for name, attack in attacks.items()
    }


def gradients_asked(settings: Settings) -> bool:
    """Whether the model that is scored is asked for gradients by these settings' attacks."""
    return not (settings.corrupts or settings.transfer_from) and ask_gradients(chosen_attacks(settings).values())


def warnings_about(question: Question, health: str) -> list[str]:
    """What is odd about the model, each told as a `ModelWarning`, too; nothing where `health` is `ignore`.

    Raises:
        BadInput: something makes every number meaningless, or `health` is neither `check` nor `ignore`.
    """
    require_health_choice(health)
    if health == "ignore":
        return []
    x, y, _ = question.samples
    noisy = question.settings.view != "mean"
    return warned_of(question.model, x, y, noisy=noisy, gradients=question.gradients)


def summed(accounts: Sequence[Accounts]) -> dict[str, QueryCount]:
    """The account of several blocks."""
    whole = _added_up(accounts)
    return {name: QueryCount(forward=one["forward"], gradient=one["gradient"]) for name, one in whole.items()}


def filled(accounts: Sequence[Accounts]) -> dict[str, int]:
    """Passes by attack of rows that only filled batches up. They depend on the machine and on the size of the batches,
    so that no card holds them."""
    return {name: one["filled"] for name, one in _added_up(accounts).items()}


def added(one: Mapping[str, int] | None, other: Mapping[str, int]) -> dict[str, int]:
    """The sum of two accounts of one attack, of which the first may not be there."""
    return {kind: count + (one or {}).get(kind, 0) for kind, count in other.items()}


def _added_up(accounts: Sequence[Accounts]) -> Accounts:
    """An attack may have no queries in some blocks."""
    whole: Accounts = {}
    for account in accounts:
        for name, one in account.items():
            whole[name] = added(whole.get(name), one)
    return whole


def _device(name: str | torch.device | None, model: nn.Module, x: Tensor) -> torch.device:
    if name is None:
        return next((parameter.device for parameter in model.parameters()), x.device)
    try:
        return torch.device(name)
    except RuntimeError:
        raise BadInput(f"no device {name!r}; choose from cpu, cuda, cuda:N, mps") from None


def _default_batch_size(x: Tensor, device: torch.device) -> int:
    # On a CPU: large enough to hide the calls, small enough for the cache. 512 digits of 28 × 28, 130 CIFAR images.
    return 1024 if device.type == "cuda" else int(np.clip(400_000 // x[0].numel(), 16, 1024))
