"""Attacks with a target: a radius is one at which the model predicts the target, and nothing else counts."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import ibrobust
from ibrobust.attacks import ATTACKS
from ibrobust.commands.audit import main as audit
from ibrobust.errors import BadInput
from ibrobust.experiments.verification import verified
from ibrobust.robustness.card import ModelRecord
from ibrobust.robustness.card_records import DataRecord
from ibrobust.robustness.evidence import evidence_path, save_evidence
from ibrobust.robustness.leaderboard import leaderboard
from ibrobust.robustness.protocols import PROTOCOLS
from ibrobust.robustness.storage import save_results
from ibrobust.robustness.targeted import target_classes
from tests.oracles import trained_digits

WITH_TARGETS = sorted(name for name, attack in ATTACKS.items() if attack.targets and not attack.black_box)


def three_strips() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Two pixels; class 0 left of .6, class 1 right of it, class 2 above .9: from (.5, .5) they are .1 and .4 away."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 3))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]]))
        model[1].bias.copy_(torch.tensor([0.0, -60.0, -90.0]))
    return model, torch.full((2, 1, 1, 2), 0.5), torch.tensor([0, 0])


@pytest.mark.parametrize("attack", WITH_TARGETS)
def test_the_radius_is_that_of_the_target(attack: str) -> None:
    model, x, y = three_strips()
    grid = [0.05, 0.11, 0.39, 0.41, 0.5]
    table = {
        target: ibrobust.breaking_radii(model, x, y, eps=grid, attacks=attack, target_class=target, health="ignore")
        for target in (1, 2, "least-likely")
    }
    # Class 1 needs x₀ > .6; class 2 needs x₁ > .9 and more than x₀ − .6 beyond it, which x₀ allows where it stays.
    assert table[1].rows[attack].tolist() == [np.float32(0.11)] * 2
    assert table[2].rows[attack].tolist() == [np.float32(0.41)] * 2
    assert table["least-likely"].rows[attack].tolist() == table[2].rows[attack].tolist()
    assert table[2].card.settings.label == f"{attack}-to-2"


def test_a_sample_of_the_target_class_is_never_broken_and_a_wrong_one_is_broken_at_0() -> None:
    model, x, y = trained_digits()
    table = ibrobust.breaking_radii(model, x[:30], y[:30], eps=[0.5], attacks="fgsm", target_class=4, health="ignore")
    wrong = table.rows["prediction"] != table.rows["label"]
    assert wrong.any()
    assert (table.rows.loc[wrong, "fgsm"] == 0).all()
    assert np.isinf(table.rows.loc[~wrong & (table.rows["label"] == 4), "fgsm"]).all()


@pytest.mark.parametrize(("target", "expected"), [
    (1, "one target class alone was attacked, which no audit is about"), (None, "not audited"),
])  # fmt: skip
def test_the_leaderboard_says_why_a_target_has_no_rank(target: int | None, expected: str) -> None:
    model, x, y = three_strips()
    strict = {name: ATTACKS[name] for name in PROTOCOLS["strict"].attacks}
    few = strict | {"square": ATTACKS["square"].with_settings({"queries": 5})}
    asked = {"eps": [0.05], "attacks": few, "health": "ignore", "target_class": target}
    (row,) = leaderboard([ibrobust.breaking_radii(model, x[:1], y[:1], **asked)]).to_dict("records")
    assert (row["reason"], pd.isna(row["rank"])) == (expected, True)


def test_a_random_target_is_each_samples_own_and_never_its_label() -> None:
    y, ids = torch.arange(1000) % 10, torch.arange(1000)
    logits = torch.zeros(1000, 10)
    target = target_classes("random", 0, logits, y, ids)
    assert (target != y).all()
    assert torch.bincount(target, minlength=10).min() > 60
    some = target_classes("random", 0, logits[500:], y[500:], ids[500:])
    assert torch.equal(some, target[500:])
    assert not torch.equal(target_classes("random", 1, logits, y, ids), target)


@pytest.mark.parametrize("of", ["target_class", "transfer_from", "both"])
def test_each_of_several_attack_seeds_is_the_evaluation_with_that_seed(of: str) -> None:
    model, x, y = trained_digits()
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)) if of == "both" else model
    given = {"target_class": {"target_class": 4}, "transfer_from": {"transfer_from": other}}
    given["both"] = given["target_class"] | given["transfer_from"]
    attacks = {"pgd": ATTACKS["pgd"].with_settings({"steps": 2}), "deepfool": ATTACKS["deepfool"]}
    asked = {"eps": [0.05, 0.1, 0.2], "attacks": attacks, "health": "ignore", **given[of]}
    several = ibrobust.breaking_radii(model, x[:24], y[:24], attack_seeds=2, **asked)
    assert several.card.settings.label.endswith({"target_class": "-to-4"}.get(of, f"-from-{type(other).__name__}"))
    for seed in (0, 1):
        alone = ibrobust.breaking_radii(model, x[:24], y[:24], seed=seed, **asked)
        assert several.of_seed(seed).rows.equals(alone.rows)
    assert several.rows["pgd"].equals(np.minimum(several.rows["pgd@0"], several.rows["pgd@1"]))


def test_what_a_certificate_proves_is_not_attacked_towards_a_target_or_from_another_model_either() -> None:
    model, x, y = three_strips()
    asked = {"eps": [0.05, 0.09, 0.39, 0.41], "attacks": "bim", "target_class": 2, "health": "ignore"}
    for source in (None, model):
        plain = ibrobust.breaking_radii(model, x, y, transfer_from=source, search="exhaustive", **asked)
        proven = np.full(2, 0.095, np.float32)
        fewer = ibrobust.breaking_radii(
            model, x, y, transfer_from=source, search="exhaustive", certified=proven, **asked
        )
        assert fewer.rows.equals(plain.rows)
        assert fewer.card.queries["bim"].gradient < plain.card.queries["bim"].gradient


def test_kept_images_prove_it_and_a_mistake_that_is_not_the_target_does_not(tmp_path) -> None:
    model, x, y = trained_digits()
    asked = {"eps": [0.2, 0.4], "attacks": "bim", "keep_images": True}
    table = ibrobust.breaking_radii(model, x[:8], y[:8], target_class="random", health="ignore", **asked)
    about = {"model": ModelRecord(run="mine"), "data": DataRecord(name="digits")}
    table = replace(table, card=table.card.model_copy(update=about))
    path = tmp_path / "mine.parquet"
    save_results(table, path)
    save_evidence(table.evidence, table.card, evidence_path(path))
    assert verified(path, model, None, None).faults == []
    table.evidence.images[:] = table.evidence.originals.flip(0)
    save_evidence(table.evidence, table.card, evidence_path(path))
    assert any("not classified as its target" in fault for fault in verified(path, model, None, None).faults)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"target_class": "likely"}, "target_class 'likely': choose from least-likely, random, or the number"),
        ({"target_class": -1}, "target_class -1: choose"),
        ({"target_class": True}, "target_class True: choose"),
        ({"target_class": 3}, "target_class 3: the model has 3 classes"),
        ({"target_class": "random", "attack_seeds": 2}, "attack_seeds 2: target_class 'random' is drawn from one seed"),
        ({"target_class": 1, "attacks": "survivors"}, "attack 'survivors' cannot serve target_class '1'"),
        ({"target_class": 1, "protocol": "corruptions"}, "target_class 1: protocol 'corruptions' has no attacks"),
    ],
)
def test_what_cannot_be_asked_is_refused(asked, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        ibrobust.breaking_radii(*three_strips(), health="ignore", **asked)


@pytest.mark.parametrize("flags", [["--target-class", "3"], ["--transfer-from", "net.py:make"]])
def test_an_audit_refuses_it(flags: list[str]) -> None:
    with pytest.raises(BadInput, match="an audit is about attacks on the model itself, towards any mistake"):
        audit(flags)
