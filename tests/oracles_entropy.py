"""Slow readable references, and laws whose entropy is known in closed form (all in nats)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.special import digamma, gammaln, logsumexp
from torch import Tensor


@dataclass(frozen=True)
class Law:
    """Something to draw from, and its differential entropy."""

    name: str
    sample: Callable[[int, torch.Generator], Tensor]
    entropy: float


def standard_gaussian(dims: int) -> Law:
    return Law(f"gaussian-{dims}", lambda n, g: _normal(n, dims, g), dims / 2 * math.log(2 * math.pi * math.e))


def correlated_gaussian(dims: int, *, condition: float = 100.0, seed: int = 0) -> Law:
    """Random directions, variances log-spaced between 1 and `condition`."""
    generator = torch.Generator().manual_seed(seed)
    rotation, _ = torch.linalg.qr(_normal(dims, dims, generator))
    root = rotation * torch.logspace(0, math.log10(condition) / 2, dims, dtype=torch.float64)
    entropy = dims / 2 * math.log(2 * math.pi * math.e) + float(torch.linalg.slogdet(root)[1])
    return Law(f"correlated-{dims}", lambda n, g: _normal(n, dims, g) @ root.T, entropy)


def uniform_cube(dims: int, side: float) -> Law:
    return Law(
        f"cube-{dims}",
        lambda n, g: side * torch.rand(n, dims, generator=g, dtype=torch.float64),
        dims * math.log(side),
    )


def separated_mixture(dims: int, components: int, *, spread: float = 1.0, distance: float = 50.0) -> Law:
    """Equal shares of Gaussians so far apart that they never overlap: H = ln components + H of one."""
    centres = torch.zeros(components, dims, dtype=torch.float64)
    centres[:, 0] = distance * spread * torch.arange(components)

    def sample(n: int, generator: torch.Generator) -> Tensor:
        # Nearly equal counts, as in a balanced data set.
        return centres[torch.arange(n) % components] + spread * _normal(n, dims, generator)

    entropy = math.log(components) + dims / 2 * math.log(2 * math.pi * math.e * spread**2)
    return Law(f"mixture-{dims}-{components}", sample, entropy)


def laplace(dims: int) -> Law:
    """Independent Laplace coordinates of scale 1."""

    def sample(n: int, generator: torch.Generator) -> Tensor:
        u = torch.rand(n, dims, generator=generator, dtype=torch.float64) - 0.5
        return -u.sign() * torch.log1p(-2 * u.abs())

    return Law(f"laplace-{dims}", sample, dims * (1 + math.log(2)))


def _normal(n: int, dims: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, dims, generator=generator, dtype=torch.float64)


def slow_knn_entropy(z: Tensor, k: int, norm: str) -> float:
    """Kraskov et al. 2004, eq. 20, as it is written there: ε is twice the distance, c_d the ball of diameter 1."""
    n, dims = z.shape
    log_epsilon = []
    for i in range(n):
        differences = [z[i].double() - z[j].double() for j in range(n) if j != i]
        lengths = sorted(float(d.norm() if norm == "l2" else d.abs().max()) for d in differences)
        log_epsilon.append(math.log(2 * lengths[k - 1]))
    log_c = 0.0 if norm == "max" else dims / 2 * math.log(math.pi) - gammaln(1 + dims / 2) - dims * math.log(2)
    return float(-digamma(k) + digamma(n) + log_c + dims / n * sum(log_epsilon))


def slow_ksg(x: Tensor, y: Tensor, k: int) -> float:
    """Kraskov et al. 2004, eq. 8, sample by sample."""
    n = len(x)
    terms = []
    for i in range(n):
        in_x = [float((x[i] - x[j]).abs().max()) for j in range(n) if j != i]
        in_y = [float((y[i] - y[j]).abs().max()) for j in range(n) if j != i]
        radius = sorted(max(pair) for pair in zip(in_x, in_y, strict=True))[k - 1]
        terms.append(sum(digamma(sum(d < radius for d in distances) + 1) for distances in (in_x, in_y)))
    return float(digamma(k) - sum(terms) / n + digamma(n))


def overlapping_mixture_entropy(centres: Tensor, spread: float, z: Tensor) -> float:
    """−mean ln p(z) of an isotropic Gaussian mixture at samples of it: its entropy, up to sampling."""
    dims = z.shape[1]
    squares = (z[:, None] - centres).square().sum(2) / (2 * spread**2)
    log_density = logsumexp(-squares.numpy(), axis=1) - math.log(len(centres))
    return float(-log_density.mean() + dims / 2 * math.log(2 * math.pi * spread**2))


def enumerated_quantities(joint_XY: Tensor, encoder_XZ: Tensor) -> dict[str, float]:
    """Each quantity of the I-diagram by its own definition, summed over every (x, y, z): Kirsch et al. §A.1, B.1."""
    p = {
        (x, y, z): float(joint_XY[x, y] * encoder_XZ[x, z])
        for x in range(joint_XY.shape[0])
        for y in range(joint_XY.shape[1])
        for z in range(encoder_XZ.shape[1])
    }

    def marginal(names: str) -> dict[tuple[int, ...], float]:
        total: dict[tuple[int, ...], float] = {}
        for key, value in p.items():
            kept = tuple(key["xyz".index(name)] for name in names)
            total[kept] = total.get(kept, 0.0) + value
        return total

    def mean_log(numerator: list[str], denominator: list[str]) -> float:
        """E ln Π numerator / Π denominator of marginal probabilities."""
        tables = {names: marginal(names) for names in (*numerator, *denominator)}

        def log_of(names: str, key: tuple[int, ...]) -> float:
            return math.log(tables[names][tuple(key["xyz".index(name)] for name in names)])

        return sum(
            value * (sum(log_of(n, key) for n in numerator) - sum(log_of(n, key) for n in denominator))
            for key, value in p.items()
            if value > 0
        )

    return {
        "label_entropy": mean_log([], ["y"]),
        "label_entropy_given_input": mean_log(["x"], ["xy"]),
        "encoding_entropy": mean_log([], ["z"]),
        "encoding_entropy_given_input": mean_log(["x"], ["xz"]),
        "decoder_uncertainty": mean_log(["z"], ["yz"]),
        "reverse_decoder_uncertainty": mean_log(["y"], ["yz"]),
        "relevant_information": mean_log(["xy"], ["x", "y"]),
        "preserved_information": mean_log(["xz"], ["x", "z"]),
        "preserved_relevant_information": mean_log(["yz"], ["y", "z"]),
        "redundant_information": mean_log(["xyz", "y"], ["xy", "yz"]),
        "residual_information": mean_log(["xyz", "z"], ["xz", "yz"]),
        # Not quantities of the table, but of the paper's equations.
        "nuisance": mean_log(["y"], ["xy"]),
        "input_entropy_given_label_and_encoding": mean_log(["yz"], ["xyz"]),
    }


REST = "input_entropy_given_label_and_encoding"


def identities(q: dict[str, float]) -> dict[int, tuple[float, float]]:
    """Both sides of Kirsch et al. equations 17-29, where all their terms are there."""
    sides = {
        17: (["relevant_information"], ["residual_information", "preserved_relevant_information"]),
        18: (["preserved_information"], ["redundant_information", "preserved_relevant_information"]),
        19: (["decoder_uncertainty"], ["residual_information", "label_entropy_given_input"]),
        20: (["reverse_decoder_uncertainty"], ["redundant_information", "encoding_entropy_given_input"]),
        # Printed with I[X;Z], which holds only where I[Y;Z] = 0; the diagram has I[X;Z|Y] there.
        21: (["nuisance"], [REST, "redundant_information"]),
        22: (
            ["label_entropy"],
            ["label_entropy_given_input", "preserved_relevant_information", "residual_information"],
        ),
        23: (
            ["encoding_entropy"],
            ["encoding_entropy_given_input", "preserved_relevant_information", "redundant_information"],
        ),
        24: (["relevant_information", "label_entropy_given_input"], ["label_entropy"]),
        25: (["preserved_information", "encoding_entropy_given_input"], ["encoding_entropy"]),
        26: (["residual_information", "label_entropy_given_input"], ["decoder_uncertainty"]),
        27: (["redundant_information", "encoding_entropy_given_input"], ["reverse_decoder_uncertainty"]),
        28: (["preserved_relevant_information", "decoder_uncertainty"], ["label_entropy"]),
        29: (["preserved_relevant_information", "reverse_decoder_uncertainty"], ["encoding_entropy"]),
    }
    return {
        number: (sum(q[name] for name in left), sum(q[name] for name in right))
        for number, (left, right) in sides.items()
        if set(left + right) <= set(q)
    }
