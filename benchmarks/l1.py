"""L1 attacks of ART, foolbox and torchattacks beside ours, on a small network trained on digits of 8 × 8 pixels.

`python -m benchmarks.l1` prints, by attack and radius, how many of 200 test digits survive, and the median distance of
those attacks that have no radius. Libraries that are not installed are left out.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ibrobust import breaking_radii
from ibrobust.attacks import NORMS
from ibrobust.robustness.results import BreakingRadii
from tests.oracles import trained_digits

RADII = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=200)
    samples = parser.parse_args().samples
    model, x, y = trained_digits()
    x, y = x[:samples], y[:samples]
    began = time.perf_counter()
    ours = breaking_radii(model, x, y, eps=RADII, norm="l1", protocol="strict")
    print(f"{samples} digits, survivors at ε = {', '.join(f'{radius:g}' for radius in RADII)} in L1")
    for name in ours.attacks:
        print(line(f"ours, {name}", ours.rows[name].to_numpy()))
    print(line("ours, strict", ours.all_attacks_N), f"({time.perf_counter() - began:.0f} s)")
    model.eval()
    for name, distances in peers(model, x, y, ours):
        print(line(name, distances), flush=True)


def line(name: str, breaking: np.ndarray) -> str:
    """Counts at the radii, and the median breaking radius."""
    counts = [int((breaking > np.float32(radius) + 1e-6).sum()) for radius in RADII]
    return f"{name:32s} {' '.join(f'{count:5d}' for count in counts)}   median {np.median(breaking):.2f}"


def peers(model: nn.Module, x: Tensor, y: Tensor, ours: BreakingRadii) -> Iterator[tuple[str, np.ndarray]]:
    """Each library's attack and the smallest distance (or radius) at which it breaks each sample."""
    clean = ours.all_attacks_N == 0
    for name, images_at in [*foolbox_attacks(model, x, y), *art_attacks(model, x, y)]:
        smallest = np.full(len(x), np.inf)
        for radius in RADII:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                images = images_at(radius)
            if images is None:
                continue
            images = images.clamp(0, 1)
            with torch.no_grad():
                broken = (model(images).argmax(1) != y).numpy()
            distance = NORMS["l1"].distance(images, x).numpy()
            smallest = np.where(broken, np.minimum(smallest, distance), smallest)
        yield name, np.where(clean, 0, smallest)


Made = Callable[[float], Tensor | None]


def foolbox_attacks(model: nn.Module, x: Tensor, y: Tensor) -> Iterator[tuple[str, Made]]:
    """L1 descent at each radius, and EAD once."""
    try:
        import foolbox
        from foolbox import attacks
    except ImportError:
        return
    seen = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    descents = {
        "SparseL1DescentAttack": attacks.SparseL1DescentAttack(steps=100),
        "L1PGD": attacks.L1ProjectedGradientDescentAttack(steps=100),
        "L1 BIM": attacks.L1BasicIterativeAttack(steps=100),
    }
    for name, attack in descents.items():
        yield f"foolbox, {name}", lambda radius, attack=attack: attack(seen, x, y, epsilons=radius)[1]
    elastic_net = attacks.EADAttack(binary_search_steps=6, steps=300)
    yield "foolbox, EADAttack", lambda radius: elastic_net(seen, x, y, epsilons=None)[1] if radius == RADII[0] else None


def art_attacks(model: nn.Module, x: Tensor, y: Tensor) -> Iterator[tuple[str, Made]]:
    """AutoPGD with norm 1 at each radius, PGD with norm 1, and ElasticNet (EAD) once."""
    try:
        from art.attacks.evasion import AutoProjectedGradientDescent, ElasticNet, ProjectedGradientDescent
        from art.estimators.classification import PyTorchClassifier
    except ImportError:
        return
    wrapped = PyTorchClassifier(model, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0, 1))

    def made(attack: object) -> Tensor:
        return torch.tensor(attack.generate(x.numpy(), y.numpy()))  # type: ignore[attr-defined]

    common = {"norm": 1, "max_iter": 100, "batch_size": 256, "verbose": False}
    yield (
        "ART, AutoPGD norm 1",
        lambda radius: made(
            AutoProjectedGradientDescent(
                wrapped, eps=radius, eps_step=radius, nb_random_init=1, loss_type="cross_entropy", **common
            )
        ),
    )
    yield (
        "ART, PGD norm 1",
        lambda radius: made(
            ProjectedGradientDescent(wrapped, eps=radius, eps_step=radius / 10, num_random_init=1, **common)
        ),
    )
    yield (
        "ART, ElasticNet",
        lambda radius: (
            made(ElasticNet(wrapped, max_iter=100, binary_search_steps=6, batch_size=256, verbose=False))
            if radius == RADII[0]
            else None
        ),
    )


if __name__ == "__main__":
    main()
