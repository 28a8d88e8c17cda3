"""Every number in docs/table.md's tables, recomputed from the released Parquet files with a table reader alone."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.stats import t as student

from ibrobust.recipe import recipes_in
from tests.conftest import ROOT

TABLE = (ROOT / "docs" / "table.md").read_text(encoding="utf-8")
PAPER = ["fgsm", "deepfool", "bim", "pgd"]
STRICT = [*PAPER, "apgd-ce", "apgd-t", "fab-t", "square"]
STRONGEST = [*PAPER, "soft-t", "apgd-ce", "apgd-t", "survivors"]
ATTACKS = {"FGSM": ["fgsm"], "paper": PAPER, "strict": STRICT, "strongest": STRONGEST, "clean": STRICT}
LONGEST = {"mnist": 5, "fashion-mnist": 6, "cifar10-jpeg": 12}
"""Epochs of every run but those that stop early."""


def named(recipe: dict[str, object], noise: str) -> str:
    """What the tables call a recipe."""
    if recipe["adversarial"]:
        return f"adversarially trained, ε = {recipe['adversarial']:g}"
    if recipe["reg"] == "none":
        stopped = {1: ", stopped after one epoch", 3: ", stopped after 3 epochs"}.get(recipe["epochs"], "")
        return f"no regulariser, {'no' if noise == 'none' else noise} noise{stopped}".replace(
            "no noise noise", "no noise"
        )
    return f"{str(recipe['reg']).replace('-decay', ' decay')}, γ = {recipe['gamma']:g}"


@cache
def released(data: str, protocol: str = "strict") -> dict[str, list[pd.DataFrame]]:
    """For each recipe the rows of its seeds; the seed, and what the audit says, stand in `attrs`."""
    found: dict[str, list[pd.DataFrame]] = {}
    for path in sorted((ROOT / "zoo" / "table" / data / protocol).glob("*.parquet")):
        card = json.loads(pq.read_schema(path).metadata[b"ibrobust"])
        rows, model = pd.read_parquet(path), card["model"]
        rows.attrs.update(verdict=card.get("verdict", "unaudited"), seed=model["recipe"]["seed"])
        found.setdefault(named(model["recipe"], model["noise"]), []).append(rows)
    return found


def left(rows: pd.DataFrame, attacks: list[str], radius: float = 0.1) -> float:
    return float((rows[attacks].min(axis=1) > np.float32(radius)).mean())


NONE = "no regulariser, zero-entropy noise"


def beside(runs: dict[str, list[pd.DataFrame]], run: str, radius: float) -> list[float]:
    """By how much strict attacks leave more of a recipe than of the unregularised one with the same seed, on average,
    and the ends of Student's 95 % interval where there are three seeds or more."""
    base = {rows.attrs["seed"]: left(rows, STRICT, radius) for rows in runs[NONE]}
    of_seed = {rows.attrs["seed"]: left(rows, STRICT, radius) for rows in runs[run]}
    more = [share - base[seed] for seed, share in of_seed.items() if seed in base]
    if run == NONE or len(more) < 3:
        return [] if run == NONE else [float(np.mean(more))]
    half = student.ppf(0.975, len(more) - 1) * np.std(more, ddof=1) / np.sqrt(len(more))
    return [float(np.mean(more) + shift) for shift in (0, -half, half)]


def numbers_in(cell: str) -> list[float]:
    return [float(number.replace("−", "-")) for number in re.findall(r"[−.\d]+", cell)]


def printed(command: str) -> Iterator[tuple[str, str, str]]:
    """(run, column, text) of each cell below a command."""
    (section,) = re.findall(rf"`python -m ibrobust.claims zoo/table/{command} .*?(?=\n## )", TABLE, re.DOTALL)
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|") and "---" not in line]
    header = [cell.strip() for cell in lines[0]]
    for line in lines[1:]:
        cells = [cell.strip() for cell in line]
        yield from ((cells[0], column, cell) for column, cell in zip(header[1:], cells[1:], strict=True))


@pytest.mark.parametrize("data", LONGEST)
def test_tables_are_those_of_the_released_rows(data: str) -> None:
    runs, stronger, seen = released(data), released(data, "strongest"), set()
    for run, column, cell in printed(f"{data} --eps"):
        seen.add(run)
        if column == "seeds":
            assert int(cell) == len(runs[run])
            continue
        if column == "audit of strict":
            counts = Counter(rows.attrs["verdict"] for rows in runs[run])
            assert cell == " ".join(f"{count} {word}" for word, count in sorted(counts.items()))
            continue
        name, *rest = column.split(",")
        if name == "against no regulariser":
            radius = float("0" + rest[0].split("=")[-1].strip()) if rest else 0.1
            assert numbers_in(cell) == pytest.approx(beside(runs, run, radius), abs=5.1e-4), (run, column)
            continue
        radius = 0.0 if name == "clean" else float("0" + rest[0].split("=")[-1].strip()) if rest else 0.1
        seeds = stronger.get(run, []) if name == "strongest" else runs[run]
        if len(seeds) < len(runs[run]):
            assert cell == "", (run, column)
            continue
        shares = [left(rows, ATTACKS[name], radius) for rows in seeds]
        mean, *spread = map(float, cell.split("±"))
        assert mean == pytest.approx(np.mean(shares), abs=5.1e-4), (run, column)
        assert spread == ([pytest.approx(np.std(shares, ddof=1), abs=5.1e-4)] if len(shares) > 1 else []), (run, column)
        assert all(len(rows) == 1000 for rows in seeds)
    assert seen == set(runs)
    assert any(column.startswith("strongest") for _, column, _ in printed(f"{data} --eps")) == any(
        len(stronger.get(run, [])) == len(seeds) for run, seeds in runs.items()
    )


@pytest.mark.parametrize("data", LONGEST)
def test_the_recipe_makes_the_runs_of_the_table(data: str) -> None:
    recipe = ROOT / "zoo" / "recipes" / f"table-{data.removesuffix('-jpeg')}.toml"
    results = (ROOT / "zoo" / "table" / data / "strict").glob("*.parquet")
    assert {path.name.removesuffix("--standing.parquet") for path in results} <= {r.run_id for r in recipes_in(recipe)}


def test_what_is_said_of_the_rows_is_so() -> None:
    shares = {
        run: [np.mean([left(rows, attacks) for rows in seeds]) for attacks in (["fgsm"], STRICT)]
        for run, seeds in released("mnist").items()
    }
    controls = ("no regulariser", "weight decay", "adversarially trained")
    bottlenecks = [values for run, values in shares.items() if not run.startswith(controls)]
    fgsm, strict = shares["no regulariser, zero-entropy noise"]
    higher = sum(values[0] > fgsm for values in bottlenecks)
    assert f"the opposite of {higher} of those {len(bottlenecks)} rows" in " ".join(TABLE.split())
    assert all(values[1] < min(strict, shares["no regulariser, no noise"][1]) for values in bottlenecks)


@pytest.mark.parametrize(
    ("data", "bottlenecks", "told"),
    [
        ("mnist", 18, "17 of the 18 intervals hold no zero (that of ceb at γ = 0.001 does)"),
        (
            "fashion-mnist",
            6,
            "strict attacks put five of six far below, with intervals that hold no zero. dvib is the exception",
        ),
    ],
)
def test_what_is_said_of_rows_against_the_unregularised_one_is_so(data: str, bottlenecks: int, told: str) -> None:
    assert told in " ".join(TABLE.split())
    cells = {run: cell for run, column, cell in printed(f"{data} --eps") if column.startswith("against")}
    ends = {run: numbers_in(cell)[1:] for run, cell in cells.items() if cell}
    below = {run for run, (_, high) in ends.items() if high < 0}
    of_bottlenecks = {run for run in ends if not run.startswith(("no regulariser", "weight", "adversarially"))}
    assert len(of_bottlenecks) == bottlenecks
    assert not of_bottlenecks & {run for run, (low, _) in ends.items() if low > 0}
    (exception,) = of_bottlenecks - below
    assert exception == {"mnist": "ceb, γ = 0.001", "fashion-mnist": "dvib, γ = 0.1"}[data]
    assert ends[exception][1] > 0
    assert below <= of_bottlenecks
    assert ends["weight decay, γ = 0.001"][0] > 0
    if data == "mnist":
        assert ends["weight decay, γ = 0.0001"][0] > 0
        assert ends["no regulariser, no noise, stopped after one epoch"][0] < 0
        assert ends["weight decay, γ = 1e-05"][0] < 0 < ends["weight decay, γ = 1e-05"][1]


def test_what_is_said_of_cifar_is_so() -> None:
    said = " ".join(TABLE.split())
    assert "No row but the adversarially trained one differs from the unregularised network of the same seed by" in said
    (most,) = re.findall(r"by more than (\.\d+) on average, and every interval holds zero", said)
    cells = {
        run: numbers_in(cell) for run, column, cell in printed("cifar10-jpeg --eps") if "against" in column and cell
    }
    assert cells.pop("adversarially trained, ε = 0.016")[1] > 0
    assert len(cells) == 9
    assert max(abs(mean) for mean, _, _ in cells.values()) <= float(most)
    assert all(low < 0 < high for _, low, high in cells.values())
    fewer, more = map(
        float, re.findall(r"with seed 2 each keeps (\.\d+) to (\.\d+) less at \.008 than with seed 1", said)[0]
    )
    kept = {
        run: {rows.attrs["seed"]: left(rows, STRICT, 0.008) for rows in seeds}
        for run, seeds in released("cifar10-jpeg").items()
        if not run.startswith("adversarially")
    }
    lost = [of_seed[1] - of_seed[2] for of_seed in kept.values()]
    assert len(lost) == 10
    assert fewer - 0.005 <= min(lost)
    assert max(lost) <= more + 0.005
    assert f"({kept['weight decay, γ = 0.0001'][1]:.3f})".replace("0.", ".") in said


def test_what_the_ledger_quotes_of_the_table_is_so() -> None:
    ledger = (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8").splitlines()
    quoted = [number for line in ledger if "](table.md)," in line for number in re.findall(r"\.\d+ ± \.\d+", line)]
    assert len(quoted) >= 10
    assert {number for number in quoted if f" {number} |" not in TABLE} == set()
    ((mean, spread),) = re.findall(
        r"ε = \.008 \| paper (\.\d+) ± (\.\d+), strict \.216 ± \.028, which is", "\n".join(ledger)
    )
    shares = [left(rows, PAPER, 0.008) for rows in released("cifar10-jpeg")["ceb, γ = 0.01"]]
    assert [float(mean), float(spread)] == pytest.approx([np.mean(shares), np.std(shares, ddof=1)], abs=5.1e-4)


def test_the_readme_shows_rows_of_the_table() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (head,) = re.findall(r"\| MNIST, LeNet, three seeds.*?\n\n", readme, re.DOTALL)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in head.strip().splitlines()]
    names = {
        "no regulariser": "no regulariser, zero-entropy noise",
        "l2 bottleneck, γ = 0.1": "l2, γ = 0.1",
        "weight decay, γ = 1e-3": "weight decay, γ = 0.001",
        "no regulariser, stopped after one epoch": "no regulariser, no noise, stopped after one epoch",
        "adversarially trained, ε = 0.2": "adversarially trained, ε = 0.2",
    }
    cells = {(run, column): cell for run, column, cell in printed("mnist --eps")}
    columns = ["FGSM", "paper", "strict", "strongest"]
    assert [line[0] for line in lines[2:]] == [*names]
    assert [line[1:] for line in lines[2:]] == [[cells[run, column] for column in columns] for run in names.values()]
