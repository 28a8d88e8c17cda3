"""Released metrics measured again: what changes is what is said of information, and verdicts stay supported."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from benchmarks import remeasure
from ibrobust.commands.stored_results import stored_results
from ibrobust.datasets import load_dataset
from ibrobust.entropies.quantities import summary
from ibrobust.files import released_zoo
from ibrobust.robustness.evidence_files import read_evidence
from ibrobust.robustness.findings import results_digest
from ibrobust.robustness.storage import load_results
from ibrobust.subjects.zoo import find_runs

RUN, WITHOUT_NOISE = "digits-mlp-l2-g0.1-s0-e99535be", "digits-mlp-none-g0-s0-cfa64d5e"


def test_metrics_change_everywhere_and_nothing_else_does(tmp_path, capsys, monkeypatch):
    zoo, results = released_zoo(), tmp_path / "results"
    for name in (RUN, WITHOUT_NOISE):
        shutil.copytree(zoo / "runs" / name, tmp_path / "runs" / name)
    stored = {"paper": f"{RUN}.parquet", "strict": f"{RUN}.parquet", "strict-rand": f"{RUN}--fresh.parquet"}
    for protocol, name in stored.items():
        (results / protocol).mkdir(parents=True)
        shutil.copy(zoo / "results" / protocol / name, results / protocol)
    shutil.copy(zoo / "results" / "audit.csv", results)
    (results / "strict" / "images").mkdir()
    shutil.copy(zoo / "results" / "strict" / "images" / f"{RUN}.parquet", results / "strict" / "images")
    card = tmp_path / "runs" / RUN / "card.json"
    earlier = json.loads(card.read_text(encoding="utf-8"))
    spoiled = {"error": 0.5, "decoder_cross_entropy": 1.0, "preserved_information": 99.0}
    spoiled |= {"preserved_information_low": 98.0, "preserved_information_high": 100.0}
    run = next(run for run in find_runs([tmp_path / "runs"]) if run.card.run == RUN)
    assert remeasure.replace_metrics(run, {"train": spoiled, "test": spoiled}, results) == 3
    before = stored_results([results])
    assert [result.card.verdict for result in before] == ["trusted"] * 3
    assert all(result.card.model.metrics["train"] == spoiled for result in before)

    monkeypatch.setattr(remeasure, "MEASURED", 300)
    remeasure.main([str(tmp_path / "runs"), "--results", str(results)])
    told = capsys.readouterr().out
    assert "train: 99.00 in 98.00 to 100.00, now " in told
    assert told.count("OUTSIDE") == 2
    assert f"{WITHOUT_NOISE}: no latent noise" in told
    run = next(run for run in find_runs([tmp_path / "runs"]) if run.card.run == RUN)
    data = load_dataset("digits")
    expected = {name: summary(run.model(), part.x[:300], part.y[:300]) for name, part in
                (("train", data.train), ("test", data.test))}  # fmt: skip
    assert run.card.metrics == expected
    assert json.loads(card.read_text(encoding="utf-8")) | {"metrics": 0} == earlier | {"metrics": 0}
    images, at_first = (read_evidence(folder / "strict" / "images" / f"{RUN}.parquet") for folder in
                        (results, zoo / "results"))  # fmt: skip
    assert images.card.model.metrics == expected
    assert images.rows.equals(at_first.rows)
    assert np.array_equal(images.images, at_first.images)
    audits = pd.read_csv(results / "audit.csv", dtype=str, keep_default_na=False)
    released = pd.read_csv(zoo / "results" / "audit.csv", dtype=str, keep_default_na=False)
    assert audits.drop(columns="results").equals(released.drop(columns="results"))
    for result, protocol in zip(stored_results([results]), stored, strict=True):
        assert (result.card.verdict, result.card.model.metrics) == ("trusted", run.card.metrics)
        assert result.rows.equals(load_results(zoo / "results" / protocol / stored[protocol]).rows)
        of_it = audits[(audits["run"] == RUN) & (audits["protocol"] == protocol)]
        assert set(of_it["results"]) == {results_digest(result)}


@pytest.mark.parametrize(("number", "word"), [(2.5, "inside"), (2.7, "OUTSIDE"), (None, "no number before")])
def test_it_is_told_whether_the_earlier_number_lies_in_the_interval(number, word):
    ends = {"preserved_information_low": 2.4, "preserved_information_high": 2.6}
    earlier = ends | ({} if number is None else {"preserved_information": number})
    (line,) = remeasure.compared({"test": earlier}, {"test": ends | {"preserved_information": 2.45}})
    assert line.endswith(f": {word}")
