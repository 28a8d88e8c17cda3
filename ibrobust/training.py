"""The loop: Adam on likelihood + γ · regulariser, with the latent's noise drawn anew in every step."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ibrobust.bottleneck import Bottleneck, Encoding
from ibrobust.datasets import Dataset, Split
from ibrobust.errors import BadInput, RunFailed
from ibrobust.images import as_images, frozen
from ibrobust.models import build_model
from ibrobust.objectives import REGULARIZERS, Regularizer, decoder_cross_entropy, noise_std
from ibrobust.randomness import GeneratorNoise
from ibrobust.recipe import Recipe
from ibrobust.types import Images, Labels, Scalar

_TERMS = ("likelihood", "regulariser", "error")

Progress = Callable[[int, dict[str, float]], None]
"""Told (epoch, the epoch's row of history) as the work goes on."""


@dataclass(frozen=True)
class Trained:
    """A trained model and, per epoch, the learning rate and the means of loss, its terms and the training error."""

    model: Bottleneck
    history: pd.DataFrame


def train(
    recipe: Recipe,
    data: Dataset,
    *,
    device: str | torch.device = "cpu",
    progress: Progress = lambda epoch, row: None,
) -> Trained:
    """Train what the recipe says. On one machine the same recipe gives the same weights to the bit.

    Raises:
        BadInput: the recipe names something that is not registered, or the data has no training part.
        RunFailed: a term of the loss is no longer finite; names the epoch and the term.
    """
    if len(data.train) == 0:
        raise BadInput(f"data {data.name!r} has no training part; add x_train and y_train, or a train and a test folder")
    model = untrained_model(recipe, data).to(device)
    regularizer = REGULARIZERS[recipe.reg]
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.learning_rate)
    scheduler = ReduceLROnPlateau(optimizer, factor=recipe.lr_factor, patience=recipe.lr_patience)
    order = torch.Generator().manual_seed(recipe.seed)
    noise_generator = torch.Generator(device).manual_seed(recipe.seed + 1)
    train_split = Split(data.train.x.to(device), data.train.y.to(device))
    rows = []
    for epoch in range(1, recipe.epochs + 1):
        terms = []
        for batch in _batches(train_split, recipe.batch_size, order):
            noise = GeneratorNoise(noise_generator, len(batch))
            x = as_images(batch.x)
            if recipe.adversarial:
                x = adversarial_images(model, x, batch.y, recipe.adversarial, noise)
            terms.append(_step(model, optimizer, regularizer, recipe.gamma, (x, batch.y, noise)))
        row = _epoch_row(epoch, optimizer, recipe, torch.stack(terms).cpu())
        scheduler.step(row["loss"])
        rows.append(row)
        progress(epoch, row)
    return Trained(model, pd.DataFrame(rows))


def untrained_model(recipe: Recipe, data: Dataset) -> Bottleneck:
    """The recipe's model for this data, normalising with the training images' statistics."""
    model = build_model(
        recipe.model,
        shape=data.shape,
        classes=data.classes,
        latent=recipe.latent,
        noise_std=noise_std(recipe),
        seed=recipe.seed,
    )
    mean, std = _pixel_statistics(data.train.x)
    model.pixel_mean.copy_(mean.view(1, -1, 1, 1))
    model.pixel_std.copy_(std.view(1, -1, 1, 1))
    return model


def adversarial_images(model: nn.Module, x: Images, y: Labels, eps: float, noise: GeneratorNoise) -> Images:
    """PGD against the mean path: 10 steps of eps/4 from a random start in the L∞ ball (Madry et al. 2018)."""
    x_adv = (x + eps * (2 * noise.uniform(*x.shape[1:]) - 1)).clamp(0, 1)
    with frozen(model):
        for _ in range(10):
            x_adv.requires_grad_()
            (gradient,) = torch.autograd.grad(decoder_cross_entropy(model(x_adv), y), x_adv)
            moved = x_adv.detach() + eps / 4 * gradient.sign()
            x_adv = moved.clamp(x - eps, x + eps).clamp(0, 1)
    return x_adv


def _step(
    model: Bottleneck,
    optimizer: torch.optim.Optimizer,
    regularizer: Regularizer,
    gamma: float,
    batch: tuple[Images, Labels, GeneratorNoise],
) -> Tensor:
    """One update; returns likelihood, regulariser and share of mistakes without waiting for the device."""
    x, y, noise = batch
    encoding: Encoding = model.encode(x, noise)
    logits = model.decoder(encoding.z)
    likelihood = decoder_cross_entropy(logits, y)
    # γ = 0 is `none` to the bit: a term of weight 0 could still be infinite.
    penalty: Scalar = regularizer.term(encoding, y, model) if gamma else likelihood.new_zeros(())
    optimizer.zero_grad(set_to_none=True)
    (likelihood + gamma * penalty if gamma else likelihood).backward()
    optimizer.step()
    return torch.stack([likelihood.detach(), penalty.detach(), (logits.detach().argmax(1) != y).float().mean()])


def _epoch_row(epoch: int, optimizer: torch.optim.Optimizer, recipe: Recipe, terms: Tensor) -> dict[str, float]:
    if not terms.isfinite().all():
        step, term = (~terms.isfinite()).nonzero()[0].tolist()
        name = recipe.reg if _TERMS[term] == "regulariser" else _TERMS[term]
        raise RunFailed(f"epoch {epoch}, step {step + 1}: the {name} term is {terms[step, term].item()}; training stopped")
    means = dict(zip(_TERMS, terms.double().mean(0).tolist(), strict=True))
    loss = means["likelihood"] + recipe.gamma * means["regulariser"]
    return {"epoch": epoch, "learning_rate": optimizer.param_groups[0]["lr"], "loss": loss, **means}


def _batches(split: Split, batch_size: int, order: torch.Generator) -> Iterator[Split]:
    """Shuffled batches of one size; the remainder waits for another epoch's shuffle."""
    size = min(batch_size, len(split))
    shuffled = torch.randperm(len(split), generator=order).to(split.x.device)
    for rows in shuffled.split(size)[: len(split) // size]:
        yield split[rows]


def _pixel_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over all training images."""
    scale = 255.0 if x.dtype == torch.uint8 else 1.0
    sums = torch.zeros(2, x.shape[1], dtype=torch.float64)
    for part in x.split(4096):
        pixels = part.to(torch.float64) / scale
        sums += torch.stack([pixels.sum((0, 2, 3)), pixels.square().sum((0, 2, 3))])
    mean, square = sums / (len(x) * math.prod(x.shape[2:]))
    std = (square - mean.square()).clamp(min=0).sqrt()
    # A channel of one value has a deviation of rounding errors: nothing to divide by.
    return mean.float(), torch.where(std > 1e-6, std, 1).float()
