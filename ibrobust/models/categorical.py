"""A categorical latent: decoders that are tables, and the paper's quantities as exact sums (Kirsch et al. §E).

With C categories every expectation over Z is a sum over C terms, so nothing is sampled: the cross-entropies and the
decoder uncertainty of a set of samples are exact.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ibrobust.types import Labels, Logits, Scalar

Probabilities = Float[Tensor, "batch categories"]
"""p(z|x) of each sample."""
Table = Float[Tensor, "categories classes"]
"""p(ŷ|z) of each category, or its logarithm."""

_SMALLEST = 1e-30
"""Below this a probability's logarithm says no more: −69 nats."""


class NetworkDecoder(nn.Module):
    """The table pθ(ŷ|z) as the output of a C-1024-1024-classes network on one-hot categories (§E.1: more parameters
    than the table needs, because it trains better)."""

    def __init__(self, categories: int, classes: int) -> None:
        super().__init__()
        self.categories = categories
        self.network = nn.Sequential(
            nn.Linear(categories, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, classes)
        )

    def table(self) -> Table:
        """pθ(ŷ|z)."""
        one_hot = torch.eye(self.categories, device=next(self.parameters()).device)
        probabilities: Table = self.network(one_hot).softmax(1)
        return probabilities

    def forward(self, z: Probabilities) -> Logits:
        """ln Σ_z p(z) pθ(ŷ|z): exact for mixtures of categories."""
        return _log(z @ self.table())


class DataDecoder(nn.Module):
    """The table p(y|z) that the data itself implies: the best decoder there is, without a parameter."""

    joint: Tensor

    def __init__(self, categories: int, classes: int) -> None:
        super().__init__()
        # A trace of the uniform distribution, for categories that no sample uses.
        self.register_buffer("joint", torch.full((categories, classes), 1e-6 / (categories * classes)))

    def table(self) -> Table:
        """p(y|z)."""
        return self.joint / self.joint.sum(1, keepdim=True)

    def forward(self, z: Probabilities) -> Logits:
        """ln Σ_z p(z) p(y|z)."""
        return _log(z @ self.table())

    @torch.no_grad()
    def follow(self, z: Probabilities, y: Labels, share: float) -> None:
        """Mix p(y, z) of a batch into the joint distribution with weight `share`; 1 replaces it."""
        trace = 1e-6 / self.joint.numel()
        self.joint.lerp_(joint(z, y, self.joint.shape[1]) + trace, share)


CategoricalDecoder = NetworkDecoder | DataDecoder


def table_of(decoder: nn.Module) -> Table:
    """p(ŷ|z) of a decoder of categories."""
    assert isinstance(decoder, CategoricalDecoder)
    return decoder.table()


def joint(z: Probabilities, y: Labels, classes: int) -> Table:
    """p(z, y) of the samples."""
    members = nn.functional.one_hot(y, classes).to(z.dtype)
    return z.T @ members / len(z)


def decoder_uncertainty(joint: Table) -> Scalar:
    """H[Y|Z] = −Σ p(z, y) ln p(y|z), exactly."""
    conditional = joint / joint.sum(1, keepdim=True).clamp(min=_SMALLEST)
    return -(joint * _log(conditional)).sum()


def decoder_cross_entropy(z: Probabilities, y: Labels, table: Table) -> Scalar:
    """Hθ[Y|Z] = E Σ_z p(z|x) (−ln pθ(y|z)); with the data's own p(y|z) held fixed its gradient is that of H[Y|Z]
    (§E: d/dθ H[Y|Z] = E_p(x,z) [ d/dθ ln p(z|x) · E_p(y|x) (−ln p(y|z)) ])."""
    return -(z * _log(table).T[y]).sum(1).mean()


def prediction_cross_entropy(z: Probabilities, y: Labels, table: Table) -> Scalar:
    """Hθ[Y|X] = E [ −ln Σ_z p(z|x) pθ(y|z) ]."""
    return -_log((z * table.T[y]).sum(1)).mean()


def _log(probability: Tensor) -> Tensor:
    return probability.clamp(min=_SMALLEST).log()
