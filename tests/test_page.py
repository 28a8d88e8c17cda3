"""The page's data: what it says is the results' own, it holds no markup from elsewhere, and it needs neither torch nor
a network."""

import base64
import hashlib
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from ibrobust import page
from ibrobust.commands.report import main
from ibrobust.commands.stored_results import stored_entries
from ibrobust.commands.train import _parser as train_parser
from ibrobust.errors import BadInput
from ibrobust.files import released_zoo
from ibrobust.page.board import board_of
from ibrobust.page.details import commands_of, details_of
from ibrobust.page.entries import Entry, certificate_of, keys_of, usual_runs
from ibrobust.page.pictures import chosen_samples, pictures_of
from ibrobust.page.writing import json_text, write_page
from ibrobust.recipe import Recipe, make_recipe, recipes_in
from ibrobust.robustness.card import ModelRecord
from ibrobust.robustness.evidence import evidence_path, load_evidence, save_evidence
from ibrobust.robustness.leaderboard import leaderboard
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.storage import save_results
from tests.cards import card
from tests.page_results import HOSTILE, hostile, kept_results

ZOO = released_zoo() / "results"


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    """Two results with images."""
    return kept_results(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def zoo():
    return stored_entries([ZOO])


def table(*columns, **about):
    """Results of one attack each column: lists of breaking radii."""
    named = {f"attack-{place}": np.float32(column) for place, column in enumerate(columns)}
    n = len(columns[0])
    rows = pd.DataFrame({"sample": np.arange(n), "label": 0, "prediction": 0, "zero_gradient": False, **named})
    return BreakingRadii(rows, card(run="one", data="d", **about))


def test_the_page_of_the_released_zoo_is_small_and_asks_nobody(zoo, tmp_path):
    (path,) = write_page(zoo, tmp_path, runs=usual_runs(), single_file=True)
    text = path.read_text(encoding="utf-8")
    assert len(text.encode()) < 3e6
    assert not re.findall(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=", text.split("<script>")[0])
    assert text.count("<script>") == 4
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"&#39;sha256-{digest}&#39;" in text
    assert "default-src &#39;none&#39;" in text
    assert "unsafe-eval" not in text


def test_the_boards_numbers_are_the_leaderboards(zoo):
    zoo = zoo[::5]
    data, ordered = board_of(zoo)
    board = leaderboard([entry.results for entry in zoo])
    names = [column["name"] for column in data["columns"]]
    told = pd.DataFrame(data["rows"], columns=names)
    assert told["run"].tolist() == board["run"].tolist() == [entry.run for entry in ordered]
    for name in ("robust_avg", "clean", "preserved_information", "n", "rank"):
        ours, theirs = (pd.to_numeric(each[name]).astype(float) for each in (told, board))
        if name == "preserved_information":  # Bounds that lie more than a nat apart leave no number, as in the figures.
            wide = board[f"{name}_high"] - board[f"{name}_low"] > 1
            assert set(wide) == {True, False}
            theirs = theirs.mask(wide)
        assert np.allclose(ours, theirs, rtol=1e-5, equal_nan=True)
    for entry, right, grid in zip(ordered, data["right"], data["grid"], strict=True):
        assert right == entry.results.robust_EN.sum(1).tolist()
        assert data["grids"][grid] == entry.results.card.settings.radii
    assert len(set(data["keys"])) == len(zoo)
    assert {column for column in board if not column.startswith("robust@")} == set(names)


def test_entries_of_one_name_have_keys_of_their_own(entries):
    assert keys_of([*entries[:1], *entries[:1]])[1] == f"{keys_of(entries[:1])[0]}~2"


def test_text_from_elsewhere_ends_no_script():
    text = json_text({"name": HOSTILE, "more": "</script><!-- & \u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"name": HOSTILE, "more": "</script><!-- & \u2028"}


def test_a_hostile_name_is_nowhere_markup(entries, tmp_path):
    (path,) = write_page([hostile(entries[0])], tmp_path, runs=[], single_file=True)
    text = path.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<img src=x" not in text


def test_neither_reading_nor_writing_needs_torch(tmp_path):
    kept_results(tmp_path / "results")
    code = (
        "import sys; from ibrobust.commands.report import main;"
        f"main([{str(tmp_path / 'results')!r}, '--html', '--out', {str(tmp_path)!r}]);"
        "import ibrobust.page.pictures; assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"index.html and 2 files beside it, \d\.\d MB: open it", done.stdout)


def test_kept_libraries_are_what_their_readme_says():
    folder = Path(page.__file__).parent / "libraries"
    stated = re.findall(r"^\| `(.*?)` .* `([0-9a-f]{64})` \|$", (folder / "README.md").read_text(), re.MULTILINE)
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.min.*")}
    assert dict(stated) == found


def test_a_page_of_fewer_runs_leaves_none_of_the_others(entries, tmp_path):
    assert len(write_page(entries, tmp_path, runs=[])) == 1 + len(entries)
    write_page(entries[:1], tmp_path, runs=[])
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["0.js"]
    write_page(entries, tmp_path, runs=[], single_file=True)
    assert list((tmp_path / "runs").iterdir()) == []


def test_the_command_to_train_again_makes_the_same_run():
    for file in sorted((released_zoo() / "recipes").glob("*.toml")):
        for recipe in recipes_in(file, {})[:3]:
            told = card(run="r", data="d").model_copy(update={"model": ModelRecord(run="r", recipe=recipe)})
            words = commands_of(told, range(10))["train"].split()
            given = vars(train_parser().parse_args(words[3:]))
            again = make_recipe({key: given[key] for key in Recipe.model_fields if given.get(key) is not None})
            assert again.run_id == recipe.run_id


def test_the_command_to_attack_again_asks_for_the_same():
    told = card(run="own", data="mine.npz", eps="0.1,0.2", protocol="strict", norm="l2")
    line = commands_of(told, range(5, 9))["evaluate"]
    assert line == (
        "python -m ibrobust.evaluate --model FILE.py:FACTORY --data mine.npz --eps 0.1,0.2 --protocol strict "
        "--norm l2 --samples 5:9"
    )


def test_first_is_the_smallest_radius_and_then_the_first_attack():
    inf = np.inf
    result = table([0, 0.1, inf, 0.2, 0.1], [0, 0.1, inf, 0.1, inf], attacks=["fgsm", "pgd"])
    rows = result.rows.rename(columns={"attack-0": "fgsm", "attack-1": "pgd"})
    assert replace(result, rows=rows).first_breakers == [("fgsm", 2, 3), ("pgd", 1, 2)]


def test_details_hold_the_curves_the_survivors_and_the_history(zoo):
    entry = next(entry for entry in zoo if entry.results.card.settings.protocol == "strict")
    history = released_zoo() / "runs" / entry.run / "history.csv"
    details = details_of(entry, [], {entry.weights: history})
    alone = entry.results.curves()
    for curve in details["curves"]["attacks"]:
        shares = alone.loc[alone["attack"] == curve["attack"], "robust"]
        assert np.allclose(curve["robust"], shares, atol=1e-4)
        assert all(np.less_equal(curve["low"], curve["robust"]) & np.less_equal(curve["robust"], curve["high"]))
    bits = [np.unpackbits(np.frombuffer(base64.b64decode(text), np.uint8)) for text in details["survives"]]
    assert np.array_equal(np.array(bits)[:, : len(entry.results.rows)], entry.results.robust_EN)
    assert details["history"]["epoch"] == pd.read_csv(history)["epoch"].tolist()
    assert json.loads(json_text(details)) == details


def test_a_run_s_page_tells_a_number_where_its_bounds_are_close(zoo):
    kept = set()
    for entry in zoo[:60:10]:
        metrics, details = entry.results.card.model.metrics["train"], details_of(entry, [], {})["metrics"]["train"]
        close = metrics["preserved_information_high"] - metrics["preserved_information_low"] <= 1
        assert ("preserved_information" in details) == close
        assert details["preserved_information_high"] == metrics["preserved_information_high"]
        assert details["decoder_cross_entropy"] == metrics["decoder_cross_entropy"]
        kept.add(close)
    assert kept == {True, False}


def test_pictures_are_those_of_the_evidence(entries):
    entry = entries[0]
    samples = chosen_samples(entries, 4)
    pictures = pictures_of(entry, samples)
    evidence, _ = load_evidence(evidence_path(entry.files[0]))
    assert pictures
    for picture in pictures:
        (at,) = np.flatnonzero(evidence.rows["sample"] == picture["sample"])
        row = evidence.rows.iloc[at]
        assert picture["attack"] == row["attack"]
        assert picture["radius"] == pytest.approx(row["radius"])
        assert picture["prediction"] == row["prediction"]
        assert picture["probability"] == pytest.approx(row["probability"], abs=1e-4)
        original, change, image = (
            np.asarray(Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2])))) for text in picture["pictures"]
        )
        for shown, pixels in ((original, evidence.originals[at]), (image, evidence.images[at])):
            assert np.array_equal(shown, (pixels[0] * 255).round().numpy())
        wanted = 0.5 + (evidence.images[at] - evidence.originals[at])[0].double() * picture["scale"]
        assert torch.allclose(torch.tensor(change / 255.0), wanted, atol=0.01)
        assert {0, 255} & set(change.flatten().tolist())


def test_images_that_do_not_prove_the_result_are_not_shown(entries, tmp_path):
    entry = entries[0]
    evidence, of = load_evidence(evidence_path(entry.files[0]))
    path = tmp_path / "paper" / "x.parquet"
    save_results(entry.results, path)
    save_evidence(replace(evidence, rows=evidence.rows.assign(radius=np.float32(0.5))), of, evidence_path(path))
    assert pictures_of(Entry(entry.results, (path,)), range(30)) == []
    other = of.model_copy(update={"model": of.model.model_copy(update={"weights_sha256": "0" * 64})})
    save_evidence(evidence, other, evidence_path(path))
    assert chosen_samples([Entry(entry.results, (path,))], 9) == []


def test_a_certificate_is_the_row_of_the_run(entries, tmp_path):
    entry = replace(entries[0], files=(tmp_path / "paper" / "x.parquet",))
    numbers = "n,certified,attacked,closed,eps,certified@eps,robust@eps,refuted"
    (tmp_path / "certified.csv").write_text(
        f"run,protocol,{numbers}\nother,paper,9,9,9,9,9,9,9,9\n{entry.run},paper,30,0.01,0.04,0.25,0.05,0.1,0.5,0\n"
    )
    assert certificate_of(entry) == dict(
        zip(numbers.split(","), [30, 0.01, 0.04, 0.25, 0.05, 0.1, 0.5, 0], strict=True)
    )
    assert certificate_of(entries[0]) is None


def test_bad_flags_are_refused(capsys):
    for words in (["--pictures", "0"], ["--pictures", "many"]):
        with pytest.raises(SystemExit) as stopped:
            main([str(ZOO), *words])
        assert stopped.value.code == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_runs_that_are_not_there_or_not_whole_are_one_line(entries, tmp_path):
    with pytest.raises(BadInput, match=re.escape("--runs 'nowhere' is no folder")):
        main([str(ZOO), "--html", "--runs", "nowhere"])
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    (run / "history.csv").write_text("epoch,loss\n1,x\n")
    (run / "card.json").write_text("{")
    with pytest.raises(BadInput, match=r"card '.*card.json' cannot be read"):
        write_page(entries, tmp_path / "out", runs=[tmp_path / "runs"])
    (run / "card.json").write_text(json.dumps({"weights_sha256": entries[0].weights}))
    with pytest.raises(BadInput, match="loss of row 1 is 'x', not a number"):
        write_page(entries, tmp_path / "out", runs=[tmp_path / "runs"])
    assert not (tmp_path / "out" / "index.html").exists()
