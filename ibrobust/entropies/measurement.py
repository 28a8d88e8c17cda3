"""The paper's quantities of a model on some samples, each with its own error, in nats (Kirsch et al. §2, §B, §G.3.1).

Rows of one estimator fit together: the identities of §B.2 hold between them to rounding. `knn-…` rows come from H[Z]
and H[Z|Y]; `decoder` rows from the log loss, which bounds H[Y|Z] from above; `exact` rows are sums.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ibrobust.datasets import Split
from ibrobust.entropies.bounds import label_entropy
from ibrobust.entropies.calibration import THREE_NEIGHBOURS, EntropyEstimate, Neighbours
from ibrobust.entropies.categorical import exact_quantities
from ibrobust.entropies.decoder_retraining import retrained_decoder
from ibrobust.entropies.encoding_entropy import (
    Known,
    encoding_entropy,
    has_known_density,
    known_of,
    noise_entropy,
    reverse_decoder_uncertainty,
)
from ibrobust.entropies.entropy import DISTANCES
from ibrobust.entropies.mixture_bounds import Labelled
from ibrobust.entropies.quantities import blocks, encoded, mean_latents
from ibrobust.errors import BadInput
from ibrobust.images import as_images, frozen
from ibrobust.models import categorical
from ibrobust.models.bottleneck import Bottleneck, Encoding, log_mean_probability
from ibrobust.models.categorical import DataDecoder, NetworkDecoder
from ibrobust.randomness import sample_draw
from ibrobust.types import Labels, Logits, PerSample

Rows = list[tuple[str, EntropyEstimate]]

_TWO_SIDED = 1.96
_WARNED = ("encoding_entropy", "reverse_decoder_uncertainty", "preserved_relevant_information")
"""What the other rows follow from: one sentence each is enough."""
_RETRAINED_ON = 20_000
"""Latent samples that a decoder is retrained on: of few images many samples of the noise, or it learns the noise."""


@dataclass(frozen=True)
class Measurement:
    """What one view of a model on some samples holds.

    Attributes:
        rows: (quantity, estimate).
        error: share of samples whose most probable class is wrong.
        error_bound: 1 − exp(−Hθ[Y|Z]), which the share of wrong predictions drawn from p(ŷ|z) cannot exceed (eq. 10);
            that of the most probable class can.
        warnings: sentences about what the samples did not allow and was left out, about estimates that should not be
            read as such, and about eq. 10 where the error exceeds its bound.
    """

    rows: Rows
    error: float
    error_bound: float
    warnings: list[str] = field(default_factory=list)


def views_of(model: Bottleneck, draws: int) -> list[str]:
    """The noise views that tell something about this model."""
    if model.categorical or not _is_noisy(model):
        return ["mean"]
    return ["mean", "fresh", f"averaged:{draws}"]


def measured(
    model: Bottleneck,
    split: Split,
    *,
    view: str = "fresh",
    ks: Sequence[int] = (3,),
    how: Neighbours = THREE_NEIGHBOURS,
    others: Split | None = None,
) -> Measurement:
    """All quantities that a view of the model has.

    Args:
        view: `mean` is the mean path, whose latent has finite entropies of its own but none given X; `fresh` one
            sample of the noise per input, the latent of the paper; `averaged:n` cross-entropies over n samples.
        ks: of the nearest-neighbour estimates, in place of the one in `how`.
        how: see `Neighbours`; its seed is that of every draw.
        others: further samples from where those of the split are from, which tighten the bounds.

    Raises:
        BadInput: no such view of this model, or k, repeats or the seed cannot be used. What samples of the latent do
            not allow, as a class of two does not allow H[Z|Y], is left out, and a warning says so.
    """
    _require_usable(model, view, ks, how, len(split))
    y = split.y.to(next(model.parameters()).device)
    if view.startswith("averaged:"):
        return _averaged(model, split.x, y, _draws(view), how.seed)
    if model.categorical:
        return _categorical(model, split.x, y, how.seed)
    encoding = encoded(model, split.x, seed=how.seed) if view == "fresh" else _without_noise(model, split.x)
    more = _encoded_others(model, others, view, how.seed, len(split)) if others is not None and len(others) else None
    with torch.no_grad():
        logits = model.decoder(encoding.z).double()
    loss = _log_loss(logits, y)
    rows = _decoder_rows("decoder", loss, y)
    measured_by = ks if view == "fresh" or not _is_noisy(model) else ()
    known = known_of(model, encoding, y, more, seed=how.seed) if measured_by else None
    found = [_neighbour_rows(model, encoding, y, loss, replace(how, k=k), known) for k in measured_by]
    rows += [row for some, _ in found for row in some]
    return _checked(rows, logits, y, [reason for _, reasons in found for reason in reasons])


def _require_usable(model: Bottleneck, view: str, ks: Sequence[int], how: Neighbours, samples: int) -> None:
    if view not in views_of(model, _draws(view)):
        raise BadInput(f"no noise view {view!r} of this model; choose from {', '.join(views_of(model, 12))}")
    DISTANCES[how.norm]
    if samples < 1:
        raise BadInput("samples 0: information needs at least one sample")
    for k in ks:
        if k < 1:
            raise BadInput(f"k {k}: a number of neighbours from 1 to the samples less one")
    if how.repeats < 1:
        raise BadInput(f"repeats {how.repeats}: a bias needs 1 or more sets of Gaussian samples")
    if how.seed < 0:
        raise BadInput(f"seed {how.seed}: 0 or more")


def _decoder_rows(estimator: str, loss: Float[Tensor, " batch"], y: Labels) -> Rows:
    """From the log loss: Hθ[Y|Z], and what it bounds if every input has one label (H[Y|X] = 0)."""
    label, mean = label_entropy(y), float(loss.mean())
    error = _TWO_SIDED * float(loss.std()) / math.sqrt(len(loss)) if len(loss) > 1 else math.inf

    def row(nats: float, low: float, high: float, name: str = estimator) -> EntropyEstimate:
        return EntropyEstimate(nats, name, None, len(loss), 0.0, 0.0, low, high)

    return [
        ("label_entropy", row(label, label, label, "exact")),
        ("relevant_information", row(label, label, label, "exact")),
        ("decoder_cross_entropy", row(mean, mean - error, mean + error)),
        ("residual_information", row(mean, 0.0, mean + error)),
        ("preserved_relevant_information", row(label - mean, label - mean - error, label)),
    ]


def _neighbour_rows(
    model: Bottleneck, encoding: Encoding, y: Labels, loss: PerSample, how: Neighbours, known: Known | None
) -> tuple[Rows, list[str]]:
    """From H[Z] and H[Z|Y], and from H[Z|X] where it is known; and a sentence for what had to be left out."""
    try:
        entropy = encoding_entropy(model, encoding, y, how, known=known)
    except BadInput as error:
        return [], [f"entropies with k = {how.k} are left out: {error}"]
    rows, left_out = [("encoding_entropy", entropy)], []
    reverse = None
    try:
        reverse = reverse_decoder_uncertainty(model, encoding, y, how, known=known)
        rows += [("reverse_decoder_uncertainty", reverse), *_label_rows(entropy, reverse, y, loss)]
    except BadInput as error:
        left_out.append(f"H[Z|Y], I[Y;Z], H[Y|Z] and I[X;Z|Y] with k = {how.k} are left out: {error}")
    less_noise, unknown = _rows_less_noise(model, encoding, entropy, reverse)
    return rows + less_noise, left_out + unknown


def _rows_less_noise(
    model: Bottleneck, encoding: Encoding, entropy: EntropyEstimate, reverse: EntropyEstimate | None
) -> tuple[Rows, list[str]]:
    """H[Z|X], I[X;Z] and, where there is H[Z|Y], I[X;Z|Y], and a sentence for what had to be left out. They are numbers
    where H[Z|X] is known, and bounds where only the latent's own noise is (dropout's part of H[Z|X] cannot be computed,
    §G.3.1)."""
    if model.noise.absent:
        return [], []
    named = [("preserved_information", entropy), *([("redundant_information", reverse)] if reverse else [])]

    def between(low: float, high: float) -> EntropyEstimate:
        return EntropyEstimate(math.nan, "not computable", None, entropy.n, math.nan, math.nan, low, high)

    floor = noise_entropy(model, encoding)
    if floor is None:
        most = math.inf if model.noisy_layers else model.noise.most_entropy(encoding.std)
        unknown = f"I[X;Z] and I[X;Z|Y] are left out: the entropy of noise of law {model.noise.law.name!r} is not known"
        return [("encoding_entropy_given_input", between(-math.inf, min(most, entropy.high)))], [unknown]
    if model.noisy_layers:
        given_input = between(floor, entropy.high)
        less_noise = [(name, between(0.0, row.high - floor)) for name, row in named]
    else:
        given_input = EntropyEstimate(floor, "closed-form", None, entropy.n, 0.0, 0.0, floor, floor)
        less_noise = [(name, row - floor) for name, row in named]
    return [("encoding_entropy_given_input", given_input), *less_noise], []


def _label_rows(entropy: EntropyEstimate, reverse: EntropyEstimate, y: Labels, loss: PerSample) -> Rows:
    """I[Y;Z] = H[Z] − H[Z|Y] (eq. 29) and what follows from it, between 0, H[Y] and what the decoder shows."""
    label, decoder = label_entropy(y), _decoder_rows("decoder", loss, y)
    cross_entropy = dict(decoder)["decoder_cross_entropy"].high
    relevant = replace(
        entropy,
        nats=entropy.nats - reverse.nats,
        bias=entropy.bias - reverse.bias,
        bias_error=math.hypot(entropy.bias_error, reverse.bias_error),
        low=max(0.0, label - cross_entropy),
        high=label,
    )
    uncertainty = replace(
        relevant, nats=label - relevant.nats, bias=-relevant.bias, low=0.0, high=min(label, cross_entropy)
    )
    return [
        ("preserved_relevant_information", relevant),
        ("decoder_uncertainty", uncertainty),
        ("residual_information", uncertainty),
    ]


def with_retrained_decoder(measurement: Measurement, model: Bottleneck, split: Split, seed: int = 0) -> Measurement:
    """The measurement of the view `fresh` with what a decoder shows that was trained anew on other samples of the
    noise, the encoder fixed: a tighter bound on H[Y|Z]."""
    encoding = encoded(model, split.x, seed=seed)
    y = split.y.to(encoding.z.device)
    draws = range(1, 1 + max(4, -(-_RETRAINED_ON // len(y))))
    others = torch.cat([encoded(model, split.x, seed=seed + draw).z for draw in draws])
    decoder = retrained_decoder(model.decoder, others, y.repeat(len(draws)))
    loss = _log_loss(decoder(encoding.z.double()), y)
    kept = ("decoder_cross_entropy", "residual_information", "preserved_relevant_information")
    rows = [(name, row) for name, row in _decoder_rows("retrained decoder", loss, y) if name in kept]
    return replace(measurement, rows=[*measurement.rows, *rows])


def _averaged(model: Bottleneck, x: Tensor, y: Labels, draws: int, seed: int) -> Measurement:
    """Both cross-entropies from several samples of the noise: Hθ[Y|X] ≤ Hθ[Y|Z] (eq. 7, 8)."""
    draw = sample_draw(seed, torch.arange(len(x), device=y.device)).fold("information")
    parts = []
    with frozen(model), torch.no_grad():
        for block in blocks(x):
            encodings = model.encodings(as_images(x[block].to(y.device)), draw[block], draws)
            parts.append(torch.stack([model.decoder(encoding.z).double() for encoding in encodings]))
    logits = torch.cat(parts, dim=1)
    mean_logits, log_probability = log_mean_probability(logits), logits.log_softmax(dim=2)
    loss = -log_probability.gather(2, y.expand(draws, -1)[..., None]).squeeze(2).mean(dim=0)
    prediction = dict(_decoder_rows("decoder", _log_loss(mean_logits, y), y))["decoder_cross_entropy"]
    rows = [*_decoder_rows("decoder", loss, y), ("prediction_cross_entropy", prediction)]
    return _checked(rows, mean_logits, y)


def _categorical(model: Bottleneck, x: Tensor, y: Labels, seed: int) -> Measurement:
    probability = encoded(model, x, seed=seed).mean.double()
    decoder = model.decoder
    assert isinstance(decoder, NetworkDecoder | DataDecoder)
    table = decoder.table().detach().double()
    joint = F.one_hot(y, table.shape[1]).double() / len(y)
    quantities = exact_quantities(joint, probability) | {
        "decoder_cross_entropy": float(categorical.decoder_cross_entropy(probability, y, table)),
        "prediction_cross_entropy": float(categorical.prediction_cross_entropy(probability, y, table)),
    }
    rows = [
        (name, EntropyEstimate(nats, "exact", None, len(y), 0.0, 0.0, nats, nats)) for name, nats in quantities.items()
    ]
    return _checked(rows, (probability @ table).log(), y)


def _checked(rows: Rows, logits: Logits, y: Labels, left_out: Sequence[str] = ()) -> Measurement:
    error = float((logits.argmax(dim=1) != y).double().mean())
    bound = 1 - math.exp(-float(_log_loss(logits, y).mean()))
    warnings = [sentence for name, row in rows if name in _WARNED and (sentence := row.warning(name))]
    if error > bound:
        warnings.append(
            f"error {error:.4g} exceeds 1 − exp(−Hθ[Y|Z]) = {bound:.4g}: eq. 10 holds for classes drawn from p(ŷ|z), "
            "not for the most probable one"
        )
    return Measurement(rows, error, bound, [*left_out, *warnings])


def _is_noisy(model: Bottleneck) -> bool:
    return not model.noise.absent or bool(model.noisy_layers)


def _draws(view: str) -> int:
    count = view.removeprefix("averaged:")
    return int(count) if count.isdecimal() and int(count) > 0 else 1


def _encoded_others(model: Bottleneck, others: Split, view: str, seed: int, already: int) -> Labelled | None:
    """The others' latents, whose noise is not that of the samples before them."""
    if view != "fresh" or not has_known_density(model):
        return None
    encoding = encoded(model, others.x, seed=seed, first=already)
    return Labelled(encoding, others.y.to(encoding.z.device))


def _without_noise(model: Bottleneck, x: Tensor) -> Encoding:
    mean = mean_latents(model, x)
    return Encoding(mean, torch.zeros_like(mean), mean)


def _log_loss(logits: Logits, y: Labels) -> PerSample:
    return F.cross_entropy(logits, y, reduction="none")
