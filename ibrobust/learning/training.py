"""The loop: Adam on likelihood + γ · regulariser, with the latent's noise drawn anew in every step."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ibrobust.datasets import Dataset, Split
from ibrobust.entropies.quantities import categorical_quantities, encoded, require_finite
from ibrobust.errors import BadInput, RunFailed
from ibrobust.images import as_images, frozen
from ibrobust.learning.augmentation import AUGMENTATIONS
from ibrobust.learning.building import recipe_model
from ibrobust.learning.objectives import Objective, objective
from ibrobust.learning.rescaling import fold_scale, make_scalable, rescale
from ibrobust.learning.schedules import SCHEDULES
from ibrobust.models.bottleneck import Bottleneck
from ibrobust.models.categorical import DataDecoder
from ibrobust.models.stochastic import learning
from ibrobust.randomness import GeneratorNoise
from ibrobust.recipe import Recipe
from ibrobust.types import Images, Labels

_MEASURED = 2000
"""Training images on which the latent is scaled and its entropy estimated after every epoch (`shrink_latent`)."""

Row = dict[str, float | int]
Progress = Callable[[int, Row], None]
"""Told (epoch, the epoch's row of history) as the work goes on."""

Observer = Callable[[int, Bottleneck], None]
"""Shown (epoch, the model as it is then) after every epoch, to measure what it likes without changing it."""


@dataclass(frozen=True)
class Trained:
    """A trained model and, per epoch, the learning rate and the means of loss, its terms and the training error.

    More columns where there is more to tell: both cross-entropies with several samples of the noise; H[Y|Z] and both
    cross-entropies, exactly and over all training images, with a categorical latent; the latent's entropy and the
    error where the latent is rescaled.
    """

    model: Bottleneck
    history: pd.DataFrame


def train(
    recipe: Recipe,
    data: Dataset,
    *,
    device: str | torch.device = "cpu",
    progress: Progress = lambda _epoch, _row: None,
    observe: Observer = lambda _epoch, _model: None,
) -> Trained:
    """Train what the recipe says. On one machine the same recipe gives the same weights to the bit. On a GPU the first
    weights and the order of the images are those of a CPU; noise and augmentation are drawn there, and are others.

    Raises:
        BadInput: the recipe names something that is not registered, or the data has no training part.
        RunFailed: a term of the loss is no longer finite; names the epoch and the term. Or the last step has left a
            model whose latents or logits are not finite.
    """
    split = training_images(recipe, data, device)
    model = untrained_model(recipe, data).to(device)
    if recipe.shrink_latent < 1:
        make_scalable(model)
    minimised = objective(recipe, data.classes)
    optimizer = _adam(recipe, model, minimised)
    steps = len(split) // min(recipe.batch_size, len(split))
    schedule = SCHEDULES[recipe.lr_schedule](optimizer, recipe, steps * recipe.epochs)
    average = _AveragedWeights(model, recipe.polyak) if recipe.polyak else None

    def update(x: Images, y: Labels, noise: GeneratorNoise) -> Tensor:
        terms = _step(model, optimizer, minimised, (x, y, noise))
        schedule.after_step()
        if average:
            average.follow(model)
        return terms

    batches = _prepared_batches(recipe, model, split)
    rows = []
    for epoch in range(1, recipe.epochs + 1):
        terms = torch.stack([update(*next(batches)) for _ in range(steps)]).cpu()
        row: Row = _epoch_row(epoch, optimizer, minimised, terms)
        schedule.after_epoch(row["loss"])
        with average.replacing_those_of(model) if average else nullcontext():
            row |= _measurements(recipe, model, split, epoch)
            observe(epoch, model)
        rows.append(row)
        progress(epoch, row)
    if average:
        average.copy_to(model)
    if recipe.shrink_latent < 1:
        fold_scale(model)
    require_finite(model, split.x[:_MEASURED])
    return Trained(model, pd.DataFrame(rows))


def training_images(recipe: Recipe, data: Dataset, device: str | torch.device = "cpu") -> Split:
    """The images that the recipe trains on, on the device.

    Raises:
        BadInput: the data has none, or fewer than the recipe asks for.
    """
    if len(data.train) == 0:
        raise BadInput(f"data {data.name!r} has no training part; add x_train and y_train, or folders train and test")
    if recipe.train_samples > len(data.train):
        raise BadInput(f"train_samples = {recipe.train_samples}: {data.name!r} has {len(data.train)} training images")
    split = data.train[: recipe.train_samples or None]
    return Split(split.x.to(device), split.y.to(device))


def untrained_model(recipe: Recipe, data: Dataset) -> Bottleneck:
    """The recipe's model for this data, normalising with the training images' statistics."""
    model = recipe_model(recipe, data.shape, data.classes)
    mean, std = _pixel_statistics(data.train[:].x)
    model.pixel_mean.copy_(mean.view(1, -1, 1, 1))
    model.pixel_std.copy_(std.view(1, -1, 1, 1))
    return model


def adversarial_images(model: nn.Module, x: Images, y: Labels, eps: float, noise: GeneratorNoise) -> Images:
    """PGD against the mean path: 10 steps of eps/4 from a random start in the L∞ ball (Madry et al. 2018)."""
    x_adv = (x + eps * (2 * noise.uniform(*x.shape[1:]) - 1)).clamp(0, 1)
    with frozen(model):
        for _ in range(10):
            x_adv.requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(model(x_adv), y), x_adv)
            moved = x_adv.detach() + eps / 4 * gradient.sign()
            x_adv = moved.clamp(x - eps, x + eps).clamp(0, 1)
    return x_adv


def _adam(recipe: Recipe, model: nn.Module, minimised: Objective) -> torch.optim.Adam:
    device = next(model.parameters()).device
    learned_beside = list(minimised.module.to(device).parameters()) if minimised.module else []
    betas = (recipe.adam_beta1, recipe.adam_beta2)
    parameters = [*model.parameters(), *learned_beside]
    return torch.optim.Adam(parameters, lr=recipe.learning_rate, betas=betas, fused=True)


def _step(
    model: Bottleneck,
    optimizer: torch.optim.Optimizer,
    minimised: Objective,
    batch: tuple[Images, Labels, GeneratorNoise],
) -> Tensor:
    """One update; returns the objective's terms without waiting for the device."""
    x, y, noise = batch
    recipe = minimised.recipe
    reduced = recipe.precision == "bfloat16"
    with learning(), torch.autocast(x.device.type, dtype=torch.bfloat16) if reduced else nullcontext():
        terms = minimised.terms(model, x, y, noise)
    likelihood, penalty = terms[:2]
    optimizer.zero_grad(set_to_none=True)
    (likelihood + recipe.gamma * penalty if recipe.gamma else likelihood).backward()  # type: ignore[no-untyped-call]
    if recipe.clip:
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    optimizer.step()
    return torch.stack([term.detach() for term in terms])


def _epoch_row(epoch: int, optimizer: torch.optim.Optimizer, minimised: Objective, terms: Tensor) -> Row:
    if not terms.isfinite().all():
        step, term = (~terms.isfinite()).nonzero()[0].tolist()
        name = minimised.recipe.reg if minimised.measured[term] == "regulariser" else minimised.measured[term]
        value = terms[step, term].item()
        raise RunFailed(f"epoch {epoch}, step {step + 1}: the {name} term is {value}; training stopped")
    means = dict(zip(minimised.measured, terms.double().mean(0).tolist(), strict=True))
    loss = means["likelihood"] + minimised.recipe.gamma * means["regulariser"]
    return {"epoch": epoch, "learning_rate": optimizer.param_groups[0]["lr"], "loss": loss, **means}


def _measurements(recipe: Recipe, model: Bottleneck, split: Split, epoch: int) -> Row:
    """What an epoch's row holds beside its means. It rescales the latent, and renews a decoder made from the data."""
    if model.categorical or recipe.shrink_latent < 1:
        require_finite(model, split.x[:_MEASURED])
    if model.categorical:
        z = encoded(model, split.x).mean
        if isinstance(model.decoder, DataDecoder):
            model.decoder.follow(z, split.y, 1.0)
        return {**categorical_quantities(model, z, split.y)}
    if recipe.shrink_latent < 1:
        return {**rescale(model, split.x[:_MEASURED], split.y[:_MEASURED], recipe.shrink_latent**epoch)}
    return {}


class _AveragedWeights:
    """Polyak averaging: a copy of the weights that follows them with an exponential memory."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = [parameter.detach().clone() for parameter in model.parameters()]

    @torch.no_grad()
    def follow(self, model: nn.Module) -> None:
        torch._foreach_lerp_(self.weights, [p.detach() for p in model.parameters()], 1 - self.decay)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        for parameter, weight in zip(model.parameters(), self.weights, strict=True):
            parameter.copy_(weight)

    @contextmanager
    def replacing_those_of(self, model: nn.Module) -> Iterator[None]:
        """The model has the averaged weights inside the block, and its own again afterwards, whatever happens."""
        own = [parameter.detach().clone() for parameter in model.parameters()]
        self.copy_to(model)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, weight in zip(model.parameters(), own, strict=True):
                    parameter.copy_(weight)


def _prepared_batches(
    recipe: Recipe, model: Bottleneck, split: Split
) -> Iterator[tuple[Images, Labels, GeneratorNoise]]:
    """Batches without end: images changed as the recipe says, labels, and where the step's noise comes from."""
    device = split.x.device
    order = torch.Generator().manual_seed(recipe.seed)
    noise_generator = torch.Generator(device).manual_seed(recipe.seed + 1)
    changes = torch.Generator(device).manual_seed(recipe.seed + 2)
    augment = AUGMENTATIONS[recipe.augment]
    while True:
        for batch in _shuffled(split, recipe.batch_size, order):
            noise = GeneratorNoise(noise_generator, len(batch))
            x = as_images(augment(batch.x, changes))
            if recipe.adversarial:
                x = adversarial_images(model, x, batch.y, recipe.adversarial, noise)
            yield x, batch.y, noise


def _shuffled(split: Split, batch_size: int, order: torch.Generator) -> Iterator[Split]:
    """Shuffled batches of one size; the remainder waits for another epoch's shuffle."""
    size = min(batch_size, len(split))
    shuffled = torch.randperm(len(split), generator=order).to(split.x.device)
    for rows in torch.split(shuffled, size)[: len(split) // size]:
        yield Split(split.x.index_select(0, rows), split.y.index_select(0, rows))


def _pixel_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over all training images."""
    scale = 255.0 if x.dtype == torch.uint8 else 1.0
    sums = torch.zeros(2, x.shape[1], dtype=torch.float64)
    for part in torch.split(x, 4096):
        pixels = part.to(torch.float64) / scale
        sums += torch.stack([pixels.sum((0, 2, 3)), pixels.square().sum((0, 2, 3))])
    mean, square = sums / (len(x) * math.prod(x.shape[2:]))
    std = (square - mean.square()).clamp(min=0).sqrt()
    # A channel of one value has a deviation of rounding errors: nothing to divide by.
    return mean.float(), torch.where(std > 1e-6, std, 1).float()
