"""What is measured beside robustness: exact on a linear model; the released outcome is that of the released rows."""

import json
import math
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from benchmarks import explain
from benchmarks.partial_correlations import OUTCOME, STATISTICS, correlations, with_interval
from ibrobust.datasets import Split
from ibrobust.files import released_zoo
from ibrobust.models.bottleneck import Bottleneck
from ibrobust.models.noise import LatentNoise
from ibrobust.tables import save_table
from tests.conftest import ROOT

RUN, OTHER = "digits-mlp-none-g0-s0-cfa64d5e", "digits-mlp-l2-g0.1-s0-e99535be"
WHY = ROOT / "zoo" / "results" / "why.csv"
FIELDS = ("reg", "gamma", "adversarial", "epochs", "seed")


def linear_model(encoder: nn.Linear, decoder: nn.Linear, std: float = 0.0) -> Bottleneck:
    noise = LatentNoise(std)
    return Bottleneck(
        nn.Sequential(nn.Flatten(), encoder), decoder, noise=noise, pixel_mean=torch.zeros(1), pixel_std=torch.ones(1)
    )


@pytest.fixture(scope="module")
def problem():
    """A linear network of 9 pixels, 4 latents and 3 classes, images well inside [0, 1], and its classes for labels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = linear_model(nn.Linear(9, 4), nn.Linear(4, 3))
        x = 0.4 + 0.2 * torch.rand(7, 1, 3, 3)
    return model, x, model.mean_path(x).argmax(1)


def gaps_and_slopes(model, x, y):
    """With numpy, for each image: the label's lead over each other class, and its slope by latent and by pixels."""
    inner, outer = (
        [part.detach().double().numpy() for part in layer.parameters()] for layer in (model.encoder[1], model.decoder)
    )
    logits = (x.flatten(1).double().numpy() @ inner[0].T + inner[1]) @ outer[0].T + outer[1]
    for image, label in enumerate(y.tolist()):
        others = [other for other in range(3) if other != label]
        apart = outer[0][label] - outer[0][others]
        yield logits[image, label] - logits[image, others], apart, apart @ inner[0]


def test_geometry_of_a_linear_network_is_exact(problem):
    model, x, y = problem
    rows = [
        (
            (gap / np.linalg.norm(apart, axis=1)).min(),
            gap.min(),
            (gap / np.abs(slopes).sum(1)).min(),
        )
        for gap, apart, slopes in gaps_and_slopes(model, x, y)
    ]
    latent, logit, radius = np.median(rows, axis=0)
    found = explain.geometry(model, x, y)
    assert found == pytest.approx(
        {
            "latent_margin": latent,
            "logit_margin": logit,
            "linear_radius": radius,
            "lipschitz": np.linalg.norm(model.encoder[1].weight.detach().double().numpy(), 2),
            "fall": 1.0,
        },
        rel=1e-4,
    )


def test_the_linear_radius_is_where_the_prediction_changes(problem):
    model, x, y = problem
    for image in range(len(x)):
        radius = explain.geometry(model, x[image : image + 1], y[image : image + 1])["linear_radius"]
        ((gap, _, slopes),) = gaps_and_slopes(model, x[image : image + 1], y[image : image + 1])
        nearest = int((gap / np.abs(slopes).sum(1)).argmin())
        direction = -torch.tensor(np.sign(slopes[nearest]), dtype=torch.float32).view(1, 1, 3, 3)
        for size, same in ((0.999, True), (1.001, False)):
            moved = x[image : image + 1] + size * radius * direction
            assert bool(model.mean_path(moved).argmax(1) == y[image]) is same


def test_the_certified_radius_is_the_exact_one_rounded_down_to_a_twentieth(problem):
    model, x, y = problem[0], problem[1][:2], problem[2][:2]
    exact = [float((gap / np.abs(slopes).sum(1)).min()) for gap, _, slopes in gaps_and_slopes(model, x, y)]
    largest = max(exact) * 1.1
    step = largest / 20
    expected = np.mean([math.floor(radius / step) * step for radius in exact])
    assert explain.certified(model, x, y, largest) == pytest.approx(expected, rel=1e-5)


def test_a_fall_that_is_not_straight_is_less_than_one():
    """The margin is tanh(20 (x − 0.5)) of one pixel: a step of .05 takes off less than the slope promises."""
    latent = nn.Sequential(nn.Flatten(), nn.Linear(1, 1), nn.Tanh())
    decoder = nn.Linear(1, 2)
    model = Bottleneck(latent, decoder, noise=LatentNoise(0.0), pixel_mean=torch.zeros(1), pixel_std=torch.ones(1))
    with torch.no_grad():
        latent[1].weight.fill_(20.0)
        latent[1].bias.fill_(-10.0)
        decoder.weight.copy_(torch.tensor([[1.0], [0.0]]))
        decoder.bias.zero_()
    found = explain.geometry(model, torch.full((1, 1, 1, 1), 0.51), torch.tensor([0]))
    slope = 20 * (1 - math.tanh(0.2) ** 2)
    assert found["lipschitz"] == pytest.approx(slope, rel=1e-4)
    assert found["fall"] == pytest.approx((math.tanh(0.2) - math.tanh(-0.8)) / (0.05 * slope), rel=1e-3)
    assert found["fall"] < 0.95


def test_information_of_two_images_far_apart_is_a_bit_and_of_no_noise_unknown():
    encoder = nn.Linear(1, 2)
    y = torch.arange(1200) % 2
    split = Split(y.float().view(-1, 1, 1, 1), y)
    with torch.no_grad():
        encoder.weight.fill_(1.0)
        encoder.bias.zero_()
    found = explain.information(linear_model(encoder, nn.Linear(2, 2), 0.02), split)
    assert found["information_low"] <= math.log(2) <= found["information_high"]
    assert found["information"] == pytest.approx(math.log(2), abs=0.1)
    assert all(
        math.isnan(value) for value in explain.information(linear_model(encoder, nn.Linear(2, 2)), split).values()
    )


def test_rows_that_the_file_holds_are_not_measured_again(tmp_path, monkeypatch):
    for name in (RUN, OTHER):
        (tmp_path / "results" / "strict").mkdir(parents=True, exist_ok=True)
        shutil.copy(released_zoo() / "results" / "strict" / f"{name}.parquet", tmp_path / "results" / "strict")
    out = tmp_path / "why.csv"
    released = pd.read_csv(WHY)
    save_table(released[released["run"] == RUN], out)
    kept = out.read_text(encoding="utf-8").splitlines()[1]
    asked = []

    def measured(run, claim, _data):
        asked.append(run.card.run)
        return {"run": run.card.run, "dataset": "digits", OUTCOME: float(claim.robust_EN.mean())}

    monkeypatch.setattr(explain, "measured_run", measured)
    explain.measure([released_zoo() / "runs"], [tmp_path / "results"], None, out)
    assert asked == [OTHER]
    lines = out.read_text(encoding="utf-8").splitlines()
    assert [line.partition(",")[0] for line in lines] == ["run", OTHER, RUN]
    assert lines[2] == kept


@pytest.mark.parametrize(
    ("folder", "results", "count"), [("results", "results/strict", 33), ("table", "table/mnist/strict", 75)]
)
def test_the_released_outcomes_are_those_of_the_released_rows(folder: str, results: str, count: int) -> None:
    why = pd.read_csv(ROOT / "zoo" / folder / "why.csv").set_index("run")
    assert len(why) == count
    for run, row in why.iterrows():
        (path,) = (ROOT / "zoo" / results).glob(f"{run}*.parquet")
        rows = pd.read_parquet(path)
        card = json.loads(pq.read_schema(path).metadata[b"ibrobust"])
        recipe = card["model"]["recipe"]
        assert {key: recipe[key] for key in FIELDS} == {key: row[key] for key in FIELDS}
        worst = rows[[name for name in rows if rows[name].dtype == np.float32]].min(axis=1).to_numpy()
        left = [float((worst > np.float32(radius)).mean()) for radius in card["radii"]]
        assert row["n"] == len(rows)
        assert row["clean"] == pytest.approx((worst > 0).mean(), abs=1e-6)
        assert row["robust_last"] == pytest.approx(left[-1], abs=1e-6)
        assert row[OUTCOME] == pytest.approx(np.mean(left), abs=1e-6), run
        assert np.isnan(row["information_low"]) or row["information_low"] <= row["information_high"]


@pytest.mark.parametrize(
    ("folder", "words"),
    [("results", "correlation {}, interval {} to {}, {} runs"), ("table", "robust ({}, {} to {}, {} runs")],
)
def test_what_is_known_says_of_information_is_what_the_released_table_shows(folder: str, words: str) -> None:
    why = pd.read_csv(ROOT / "zoo" / folder / "why.csv").query("adversarial == 0").dropna(subset="information_low")
    known = " ".join((ROOT / "docs" / "known.md").read_text(encoding="utf-8").split())
    numbers = with_interval(why, "information", "accuracy fixed")
    assert words.format(*map(spelled, numbers), len(why)) in known
    between = with_interval(why, "information", "between")
    assert between.low < 0 < between.high


@pytest.mark.parametrize("folder", ["results", "table"])
def test_the_correlations_that_the_findings_show_are_those_of_the_released_table(folder: str) -> None:
    why = pd.read_csv(ROOT / "zoo" / folder / "why.csv")
    findings = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8").splitlines()
    (found,) = [rows for _, rows in correlations(why, 2).groupby("dataset")]
    for _, row in found.iterrows():
        told = [float(row[name].split()[0]) for name in STATISTICS]
        shown = [
            [float(cell.split()[0].replace("−", "-")) for cell in line.strip("|").split("|")[1:]]
            for line in findings
            if line.startswith("| ") and line.count("[") == len(STATISTICS)
        ]
        assert told in shown, (folder, row["quantity"])


def spelled(number: float) -> str:
    return f"{number:.2f}".replace("0.", ".", 1).replace("-", "−")
