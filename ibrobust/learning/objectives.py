"""What training minimises: a likelihood term + γ · a regulariser (Kirsch et al. §3, all in nats)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ibrobust.errors import BadInput
from ibrobust.models import categorical
from ibrobust.models.bottleneck import Bottleneck, Encoding, log_mean_probability
from ibrobust.models.noise import LN_2PIE, NO_NOISE, LatentNoise, latent_noise
from ibrobust.randomness import Noise
from ibrobust.recipe import Recipe
from ibrobust.registry import Registry, extension_point
from ibrobust.types import Images, Labels, Latents, Logits, Scalar

SampledLogits = Float[Tensor, "samples batch classes"]


@dataclass(frozen=True)
class Regularizer:
    """A term of the objective and the latent noise that belongs to it.

    Attributes:
        term: (encoding, labels, model) → scalar.
        noise: what the recipe's `noise = "auto"` stands for.
        rate: whether the term holds −H[Z|X], and so is infinite without noise.
        of_weights: whether the term depends on the model's weights alone, so that any kind of latent will do.
        module: (latent, classes) → a module that is learned with the term, not part of the classifier; `term` is
            then given it instead of the model.
    """

    term: Callable[[Encoding, Labels, nn.Module], Scalar]
    noise: str = "zero-entropy"
    rate: bool = False
    of_weights: bool = False
    module: Callable[[int, int], nn.Module] | None = None


REGULARIZERS: Registry[Regularizer] = extension_point("regulariser", Regularizer)


@dataclass(frozen=True)
class Likelihood:
    """A likelihood term.

    Attributes:
        of_samples: (logits of S samples of the noise, labels) → scalar; None where it needs a categorical latent.
        of_categories: (p(z|x), labels, table of p(ŷ|z)) → scalar, exact.
        decoder: the decoder that a categorical latent has with this term, from `models.DECODERS`.
    """

    of_samples: Callable[[SampledLogits, Labels], Scalar] | None
    of_categories: Callable[[categorical.Probabilities, Labels, categorical.Table], Scalar]
    decoder: str = "network"


LIKELIHOODS: Registry[Likelihood] = extension_point("likelihood", Likelihood)


def decoder_cross_entropy(logits: SampledLogits, y: Labels) -> Scalar:
    """Hθ[Y|Z]: the mean log loss of the samples of Z, an upper bound on H[Y|Z] (eq. 8, 9)."""
    return F.cross_entropy(logits.flatten(0, 1), y if len(logits) == 1 else y.repeat(len(logits)))


def prediction_cross_entropy(logits: SampledLogits, y: Labels) -> Scalar:
    """Hθ[Y|X]: the log loss of the mean probability over the samples, never above `decoder_cross_entropy` (eq. 7)."""
    return F.nll_loss(log_mean_probability(logits), y)


DECODER = Likelihood(decoder_cross_entropy, categorical.decoder_cross_entropy)
PREDICTION = Likelihood(prediction_cross_entropy, categorical.prediction_cross_entropy)
# With the data's own p(y|z) held fixed, the decoder cross-entropy has the value and the gradient of H[Y|Z].
UNCERTAINTY = Likelihood(None, categorical.decoder_cross_entropy, decoder="data")


def squared_norm(z: Latents) -> Scalar:
    """E‖Z‖² of the noisy latent (eq. 14)."""
    return z.square().sum(1).mean()


def log_squared_norm(z: Latents) -> Scalar:
    """(K/2) ln((2πe/K) E‖Z‖²), the bound on H[Z] that Theorem 4 proves (§F.2)."""
    dimensions = z.shape[1]
    return dimensions / 2 * (LN_2PIE + torch.log(squared_norm(z) / dimensions))


def log_variance(z: Latents, std: Latents | None = None) -> Scalar:
    """Σ_i ½ ln(2πe Var[Z_i]) over the batch: bounds H[Z] (eq. 16).

    Args:
        std: that of the noise in z; none by default.
    """
    return 0.5 * (LN_2PIE + _logarithm(z.var(0), z.mean(0), std)).sum()


def conditional_log_variance(z: Latents, y: Labels, std: Latents | None = None) -> Scalar:
    """E_y Σ_i ½ ln(2πe Var[Z_i|y]): bounds H[Z|Y] (eq. 15). A class with one sample in the batch has no variance:
    it is left out and the others' weights add up to 1.

    Args:
        std: that of the noise in z; none by default.
    """
    members = F.one_hot(y).to(z.dtype)
    count = members.sum(0)
    kept = count >= 2
    if not kept.any():
        return z.sum() * 0
    mean = (members.T @ z)[kept] / count[kept, None]
    # Deviations from the class mean, not E[z²] − E[z]²: no cancellation where a class has collapsed.
    class_index = (torch.cumsum(kept, 0) - 1).clamp(min=0)[y]
    deviations = (z - mean[class_index]) * kept[y, None]
    variance = (members.T @ deviations.square())[kept] / (count[kept, None] - 1)
    entropies = 0.5 * (LN_2PIE + _logarithm(variance, mean, std)).sum(1)
    return (count[kept] * entropies).sum() / count[kept].sum()


def _logarithm(variance: Tensor, mean: Tensor, std: Latents | None) -> Tensor:
    """The logarithm of variances around these means. Two samples of a class have the same number in some dimension now
    and then; where noise was added that is rounding, and the variance is taken for the least that different numbers of
    this size have. Where none was it is 0."""
    if std is None:
        return torch.log(variance)
    least = (torch.finfo(mean.dtype).eps * mean.detach().abs()).square() / 8
    return torch.log(torch.where(variance > 0, variance, least * (std > 0).any(0)))


def rate(encoding: Encoding) -> Scalar:
    """E D_KL(p(z|x) ‖ N(0, I)) in closed form (Alemi et al. 2016; §C.2)."""
    variance = encoding.std.square()
    return 0.5 * (encoding.mean.square() + variance - 1 - torch.log(variance)).sum(1).mean()


class ClassMeans(nn.Module):
    """The reverse decoder q(z|y) = N(μ_y, I): a learned mean for each class (Fischer and Alemi 2020; §F.4)."""

    def __init__(self, latent: int, classes: int) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.zeros(classes, latent))

    def forward(self, y: Labels) -> Latents:
        return self.means[y]


def conditional_rate(encoding: Encoding, y: Labels, class_means: nn.Module) -> Scalar:
    """E D_KL(p(z|x) ‖ q(z|y)), an upper bound on I[X;Z|Y]; ½ E‖mean − μ_y‖² where the encoder's variance is 1."""
    return rate(encoding._replace(mean=encoding.mean - class_means(y)))


def squared_weights(model: nn.Module) -> Scalar:
    """‖θ‖² over weight matrices and kernels; biases and scales are left alone."""
    total: Tensor = sum(parameter.square().sum() for parameter in model.parameters() if parameter.ndim > 1)  # type: ignore[assignment]
    return total


NONE = Regularizer(lambda encoding, _y, _model: encoding.z.new_zeros(()), of_weights=True)
L2 = Regularizer(lambda encoding, _y, _model: squared_norm(encoding.z))
LOG_L2 = Regularizer(lambda encoding, _y, _model: log_squared_norm(encoding.z))
LOGVAR = Regularizer(lambda encoding, _y, _model: log_variance(encoding.z, encoding.std))
COND_LOGVAR = Regularizer(lambda encoding, y, _model: conditional_log_variance(encoding.z, y, encoding.std))
DVIB = Regularizer(lambda encoding, _y, _model: rate(encoding), noise="learned", rate=True)
CEB = Regularizer(conditional_rate, noise="1", rate=True, module=ClassMeans)
WEIGHT_DECAY = Regularizer(lambda _encoding, _y, model: squared_weights(model), of_weights=True)


def require_fitting(recipe: Recipe) -> None:
    """Raises:
    BadInput: the recipe's terms are not registered or do not go with its latent.
    """
    likelihood, regularizer = LIKELIHOODS[recipe.likelihood], REGULARIZERS[recipe.reg]
    categorical = recipe.latent_kind == "categorical"
    if likelihood.of_samples is None and not categorical:
        raise BadInput(f"likelihood {recipe.likelihood!r} needs latent_kind 'categorical'")
    if categorical and not regularizer.of_weights:
        choices = " or ".join(sorted(name for name, other in REGULARIZERS.items() if other.of_weights))
        raise BadInput(f"reg {recipe.reg!r} does not go with a categorical latent; choose {choices}")


def noise_name(recipe: Recipe) -> str:
    """The recipe's latent noise in a word or a number; `auto` is the regulariser's own."""
    if recipe.latent_kind == "categorical":
        return "categorical"
    return REGULARIZERS[recipe.reg].noise if recipe.noise == "auto" else recipe.noise


def recipe_noise(recipe: Recipe) -> LatentNoise:
    """The latent's noise; none for a categorical latent, whose noise is the choice.

    Raises:
        BadInput: the noise is neither a known name nor a number ≥ 0, or does not go with the regulariser.
    """
    if recipe.latent_kind == "categorical":
        return NO_NOISE
    name = noise_name(recipe)
    noise = latent_noise(name)
    if REGULARIZERS[recipe.reg].rate:
        if noise.absent:
            raise BadInput(f"noise {name}: the rate of {recipe.reg!r} is infinite without noise")
        if noise.law.entropy is None:
            raise BadInput(f"noise {name}: the rate of {recipe.reg!r} needs a noise whose entropy is known")
    return noise


@dataclass(frozen=True)
class Objective:
    """A recipe's objective: what one step of training minimises, and what it measures on the way.

    Attributes:
        module: what the regulariser learns beside the model, if anything.
        memory: share of a batch in a categorical latent's running p(y, z).
        negentropy: nats that a dimension of the latent's noise lacks to a Gaussian of its variance; part of a rate.
    """

    recipe: Recipe
    module: nn.Module | None
    memory: float = 0.05
    negentropy: float = 0.0

    @property
    def measured(self) -> tuple[str, ...]:
        """The names of what `terms` returns."""
        both = ("decoder_cross_entropy", "prediction_cross_entropy") if self.recipe.latent_samples > 1 else ()
        return ("likelihood", "regulariser", "error", *both)

    def terms(self, model: Bottleneck, x: Images, y: Labels, noise: Noise) -> list[Scalar]:
        """Likelihood, regulariser (0 where γ is 0) and share of mistakes; with several samples both cross-entropies."""
        if model.categorical:
            return self._categorical_terms(model, x, y, noise)
        samples = self.recipe.latent_samples
        encodings = [model.encode(x, noise)] if samples == 1 else model.encodings(x, noise, samples)
        encoding = encodings[0] if samples == 1 else Encoding(*map(torch.cat, zip(*encodings, strict=True)))
        encoding = Encoding(*(tensor.float() for tensor in encoding))
        logits = model.decoder(encoding.z).float().view(samples, len(y), -1)
        of_samples = LIKELIHOODS[self.recipe.likelihood].of_samples
        assert of_samples is not None  # `require_fitting` sees to it
        likelihood = of_samples(logits, y)
        if samples == 1:
            return [likelihood, self._penalty(encoding, y, model), _share_of_mistakes(logits[0], y)]
        with torch.no_grad():
            both = [decoder_cross_entropy(logits, y), prediction_cross_entropy(logits, y)]
            mistakes = _share_of_mistakes(log_mean_probability(logits), y)
        return [likelihood, self._penalty(encoding, y.repeat(samples), model), mistakes, *both]

    def _penalty(self, encoding: Encoding, y: Labels, model: nn.Module) -> Scalar:
        # γ = 0 is `none` to the bit: a term of weight 0 could still be infinite.
        if self.recipe.gamma == 0:
            return encoding.z.new_zeros(())
        regularizer = REGULARIZERS[self.recipe.reg]
        term = regularizer.term(encoding, y, model if self.module is None else self.module)
        # A rate is written down for Gaussian p(z|x); another law of the same variance has less entropy.
        return term + encoding.z.shape[1] * self.negentropy if regularizer.rate and self.negentropy else term

    def _categorical_terms(self, model: Bottleneck, x: Images, y: Labels, noise: Noise) -> list[Scalar]:
        encoding = Encoding(*(tensor.float() for tensor in model.encode(x, noise)))
        if isinstance(model.decoder, categorical.DataDecoder):
            model.decoder.follow(encoding.mean, y, self.memory)
        table = categorical.table_of(model.decoder).float()
        likelihood = LIKELIHOODS[self.recipe.likelihood].of_categories(encoding.mean, y, table)
        mistakes = _share_of_mistakes(encoding.mean @ table, y)
        return [likelihood, self._penalty(encoding, y, model), mistakes]


def objective(recipe: Recipe, classes: int) -> Objective:
    """Raises:
    BadInput: the recipe names a term that is not registered or does not go with its latent.
    """
    require_fitting(recipe)
    regularizer = REGULARIZERS[recipe.reg]
    module = regularizer.module(recipe.latent, classes) if regularizer.module else None
    negentropy = recipe_noise(recipe).negentropy if regularizer.rate else 0.0
    return Objective(recipe, module, negentropy=negentropy)


def _share_of_mistakes(scores: Logits, y: Labels) -> Scalar:
    return (scores.detach().argmax(1) != y).float().mean()
