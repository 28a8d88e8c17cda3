"""What `strongest` finds beyond `strict` and the reference AutoAttack. One thread; seconds are CPU seconds.

python -m benchmarks.strongest planted     200 planted counterexamples of each construction: how many are found
python -m benchmarks.strongest stubborn    a strided CNN: what strict leaves and strongest breaks, checked in float64
python -m benchmarks.strongest victims     four networks: samples that are left and seconds, beside the reference
python -m benchmarks.strongest seeds       ten seeds of strict and of strongest: what one is worth
python -m benchmarks.strongest exact       certified ≤ exact ≤ attacked, by mixed-integer programming

All but `exact` can be run in pieces (`--constructions`, `--victims`, `--eps`, `--attackers`), whose rows
`--table FILE.csv` keeps: those of AutoAttack and of ours that are compared should be of one run.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.autoattack import REFERENCES, broken_in_float64
from benchmarks.pieces import kept
from benchmarks.victims import TRAINED, benchmark_data, trained_victim
from ibrobust import breaking_radii
from ibrobust.attacks import protocol_attacks
from ibrobust.certificates.certificate import certified_eps_N
from ibrobust.certificates.effort import Effort
from ibrobust.images import as_images, frozen
from ibrobust.robustness.attack_seeds import robust_SE
from ibrobust.robustness.results import BreakingRadii
from tests.exact_radii import exact_radius, tiny_digits
from tests.planted_networks import CONSTRUCTIONS, EPS, Planted

Answer = TypeVar("Answer")
EVERYBODY = ["AutoAttack", "strict", "strongest"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["planted", "stubborn", "victims", "exact", "seeds"])
    parser.add_argument("--samples", type=int, default=60, help="(200 planted ones whatever this says)")
    parser.add_argument("--eps", type=float, nargs="+", default=[0.2, 0.3])
    parser.add_argument("--victims", nargs="+", choices=sorted(TRAINED), default=sorted(TRAINED))
    parser.add_argument("--generations", type=int, default=12)
    parser.add_argument("--weights", type=Path, help="folder where trained weights are kept for the next time")
    parser.add_argument("--constructions", nargs="+", choices=sorted(CONSTRUCTIONS), default=[*CONSTRUCTIONS])
    parser.add_argument("--attackers", nargs="+", choices=EVERYBODY, default=EVERYBODY)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--reference", choices=sorted(REFERENCES), default="pyautoattack", help="whose AutoAttack")
    parser.add_argument("--table", type=Path, help="CSV file that keeps the rows")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    parts = {"planted": planted, "stubborn": stubborn, "victims": victims, "exact": exact, "seeds": seeds}
    parts[options.part](options)


def noted(options: argparse.Namespace, **row: object) -> None:
    """Keep a row, beside what is asked."""
    asked = {"part": options.part, "samples": options.samples}
    kept(options.table, {**asked, **row}, [*asked, *({"network", "eps", "who", "construction"} & row.keys())])


def timed(work: Callable[[], Answer]) -> tuple[Answer, float]:
    began = time.process_time()
    return work(), time.process_time() - began


def attacked(model: nn.Module, x: Tensor, y: Tensor, eps: float, protocol: str) -> BreakingRadii:
    """Everybody attacks only what still stands, as AutoAttack does."""
    return breaking_radii(model, x, y, eps=[eps], protocol=protocol, columns="standing", health="ignore")


def planted(options: argparse.Namespace) -> None:
    print(f"{'construction':>14} {'attack':>12} {'found of 200':>12} {'seconds':>8}")
    for name in options.constructions:
        construction = CONSTRUCTIONS[name]
        for who in options.attackers:
            answers = [timed(partial(broken_by, who, construction(50, seed), options.reference)) for seed in range(4)]
            count, seconds = sum(int(fell.sum()) for fell, _ in answers), sum(took for _, took in answers)
            print(f"{name:>14} {who:>12} {count:>12} {seconds:>8.1f}", flush=True)
            noted(options, construction=name, who=who, found=count, seconds=round(seconds, 2))


def broken_by(who: str, case: Planted, reference: str) -> Tensor:
    return ~standing(who, case.model, case.x, case.y, EPS, reference)


def standing(who: str, model: nn.Module, x: Tensor, y: Tensor, eps: float, reference: str = "") -> Tensor:
    """Which samples the reference or a protocol leaves."""
    if who != "AutoAttack":
        return torch.from_numpy(attacked(model, x, y, eps, who).all_attacks_N > eps * 1.0001)
    with frozen(model):
        return model(REFERENCES[reference](model, x, y, eps)).argmax(1) == y


def samples(count: int) -> tuple[Tensor, Tensor]:
    test = benchmark_data("mnist").test
    return as_images(test.x[:count]), test.y[:count]


def stubborn(options: argparse.Namespace) -> None:
    x, y = samples(options.samples)
    print("left by strict; broken by strongest, and that in float64; CPU seconds of both; broken per CPU minute")
    for name in options.victims:
        model = trained_victim(name, options.weights)
        for eps in options.eps:
            left, usual = timed(partial(standing, "strict", model, x, y, eps))
            (fell, proven), more = timed(partial(broken_of, model, x[left], y[left], eps, options.generations))
            rate = fell / more * 60
            noted(
                options, network=name, eps=eps, left=int(left.sum()), broken=fell, proven=proven,
                strict=round(usual, 2), strongest=round(more, 2),
            )  # fmt: skip
            print(
                f"{name:>9} {eps:g}: {int(left.sum())}; {fell}, {proven}; {usual:.1f} and {more:.1f}; {rate:.2f}",
                flush=True,
            )


def broken_of(model: nn.Module, x: Tensor, y: Tensor, eps: float, generations: int) -> tuple[int, int]:
    """How many of these samples `strongest` breaks, and how many of its images are mistakes in float64."""
    attacks = protocol_attacks("strongest")
    attacks["survivors"] = attacks["survivors"].with_settings({"generations": generations})
    found = breaking_radii(model, x, y, eps=[eps], attacks=attacks, keep_images=True, health="ignore")
    fell = torch.from_numpy(found.all_attacks_N < eps * 1.0001)
    if not fell.any():
        return 0, 0
    assert found.evidence is not None, "images are kept"
    whose = torch.from_numpy(found.evidence.rows["sample"].to_numpy())
    return int(fell.sum()), int(broken_in_float64(model, x[whose], y[whose], found.images, eps).sum())


def victims(options: argparse.Namespace) -> None:
    x, y = samples(options.samples)
    print(f"{options.samples} samples: left standing (CPU seconds); times as shares of {options.attackers[0]}'s")
    for name in options.victims:
        model = trained_victim(name, options.weights)
        for eps in options.eps:
            everybody = options.attackers
            answers = [timed(partial(standing, who, model, x, y, eps, options.reference)) for who in everybody]
            for who, (standing_N, took) in zip(everybody, answers, strict=True):
                noted(options, network=name, eps=eps, who=who, left=int(standing_N.sum()), seconds=round(took, 2))
            left = ", ".join(
                f"{who} {int(left.sum())} ({took:.1f})" for who, (left, took) in zip(everybody, answers, strict=True)
            )
            shares = " and ".join(f"{took / answers[0][1]:.2f}" for _, took in answers[1:])
            print(f"{name:>9} {eps:g}: {left}; {shares}", flush=True)


def seeds(options: argparse.Namespace) -> None:
    x, y = samples(options.samples)
    print(f"left of {options.samples} by all of {options.seeds} seeds together, and by each alone: mean, sd, range")
    for name in options.victims:
        model = trained_victim(name, options.weights)
        for eps in options.eps:
            for protocol in (who for who in options.attackers if who != "AutoAttack"):
                several = breaking_radii(
                    model, x, y, eps=[eps], protocol=protocol, columns="standing", attack_seeds=options.seeds,
                    health="ignore",
                )  # fmt: skip
                alone = robust_SE(several)[:, -1] * len(x)
                spread = f"{alone.mean():.1f}, {alone.std(ddof=1):.2f}, {alone.min():.0f} to {alone.max():.0f}"
                worst = int(several.robust_EN[-1].sum())
                found = {"worst": worst, "mean": alone.mean(), "sd": alone.std(ddof=1), "seeds": options.seeds}
                noted(options, network=name, eps=eps, who=protocol, **found, least=alone.min(), most=alone.max())
                print(f"{name:>9} {eps:g} {protocol:>9}: {worst}; {spread}", flush=True)


def exact(options: argparse.Namespace) -> None:
    model, x, y = tiny_digits()
    right = model(x).argmax(1) == y
    x, y = x[right][: options.samples], y[right][: options.samples]
    grid = np.linspace(0, 0.2, 201)
    truth = np.array([exact_radius(model, image, int(label), 0.2) for image, label in zip(x, y, strict=True)])
    print(f"{len(x)} digits of 4 × 4 pixels, two hidden layers of 8, exact radius {np.median(truth):.4f} in the middle")
    for name, effort in {"CROWN": None, "α-CROWN": Effort(branches=0), "200 branches": Effort(branches=200)}.items():
        certified, took = timed(partial(certified_eps_N, model, x, y, [float(each) for each in grid], effort=effort))
        sound, tight = int((certified <= truth + 1e-6).sum()), _tight(certified, truth, -1)
        print(
            f"{name}: at most exact: {sound}; tight to the grid of .001: {tight}; {took / len(x):.2f} s a sample",
            flush=True,
        )
    for protocol in ("paper", "strict", "strongest"):
        results = breaking_radii(
            model, x, y, eps=[float(radius) for radius in grid], protocol=protocol, health="ignore"
        )
        found = results.all_attacks_N
        at_least = int((found >= truth - 2e-6).sum())
        print(
            f"{protocol}: at least exact: {at_least}; tight to the grid of .001: {_tight(found, truth, 1)}", flush=True
        )


def _tight(found: NDArray[np.float32], truth: NDArray[np.float64], side: int) -> int:
    """How many lie within one step of the grid of the truth, on their side of it."""
    return int((side * (found - truth) <= 0.001 + 2e-6).sum())


if __name__ == "__main__":
    main()
