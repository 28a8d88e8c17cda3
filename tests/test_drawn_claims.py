"""`--sample` means the same samples in every command: audits, certificates and information are of exactly those."""

import numpy as np
import pandas as pd
import pytest
import torch

from ibrobust.certificates.certificate import certified_eps_N
from ibrobust.commands import audit, certify, evaluate, information
from ibrobust.entropies.measurement import measured
from ibrobust.experiments import audited_subjects, checked_claims
from ibrobust.experiments.selection import selection_of
from ibrobust.files import released_zoo
from ibrobust.robustness.storage import card_in, load_results
from ibrobust.subjects.zoo import load_run
from tests.refusals import RUN, exit_of, refused

PLACE = str(released_zoo() / "runs" / RUN)
ASKED = ("--attacks", "fgsm", "--device", "cpu")


@pytest.fixture(scope="module")
def run():
    return load_run(released_zoo() / "runs" / RUN)


@pytest.fixture(scope="module")
def test_part(run):
    return run.data(data_dir=None, download=False).test


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A folder with results of all 500 test samples."""
    out = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ibrobust.commands.evaluate.print_report", lambda *_args, **_settings: None)
        evaluate.main([PLACE, *ASKED, "--eps", "0.05,0.1", "--out", str(out)])
    return out


@pytest.fixture
def few_checks(monkeypatch):
    """One check, and the samples that it is of."""
    real, seen = checked_claims.findings_of, []

    def noted(case, names, *, progress):
        seen.append((case.claim.sample_N["sample"].tolist(), case.y.tolist()))
        return real(case, names, progress=progress)

    monkeypatch.setattr(audited_subjects, "CHECKS", {"repeatable": audited_subjects.CHECKS["repeatable"]})
    monkeypatch.setattr(checked_claims, "findings_of", noted)
    return seen


def drawn(text, test_part):
    return selection_of(text).numbers(test_part.y).tolist()


def test_an_audit_is_of_the_samples_that_are_drawn(evaluated, few_checks, test_part):
    ids = drawn("stratified:30:3", test_part)
    assert ids[-1] > 30
    audit.main([PLACE, *ASKED, "--sample", "stratified:30:3", "--results", str(evaluated)])
    assert few_checks == [(ids, test_part.y[ids].tolist())]
    (path,) = evaluated.glob("fgsm/*.parquet")
    record = card_in(path).audit
    assert (record.samples, record.sample) == (30, "stratified:30:3")
    assert len(load_results(path).rows) == 500
    assert set(pd.read_csv(evaluated / "audit.csv")["samples"]) == {30}
    audit.main([PLACE, *ASKED, "--samples", "20", "--results", str(evaluated)])
    assert few_checks[1][0] == list(range(20))
    assert "sample" not in card_in(path).audit.model_dump(exclude_none=True)


def test_an_audit_evaluates_the_samples_that_are_drawn(tmp_path, few_checks, test_part):
    audit.main([PLACE, *ASKED, "--eps", "0.1", "--sample", "random:25:1", "--results", str(tmp_path)])
    (path,) = tmp_path.glob("fgsm/*.parquet")
    ids = drawn("random:25:1", test_part)
    assert few_checks == [(ids, test_part.y[ids].tolist())]
    assert load_results(path).sample_N["sample"].tolist() == ids
    assert card_in(path).data.sample == "random:25:1"


def test_a_certificate_is_of_the_samples_that_are_drawn(evaluated, run, test_part):
    certify.main([PLACE, *ASKED, "--sample", "random:12:7", "--results", str(evaluated)])
    table, ids = pd.read_csv(evaluated / "certified_samples.csv"), drawn("random:12:7", test_part)
    assert table["sample"].tolist() == ids
    some = test_part[torch.tensor(ids)]
    expected = certified_eps_N(run.model(), some.x, some.y, [0.05, 0.1])
    assert table["certified"].to_numpy(dtype=np.float32).tolist() == expected.tolist()
    (row,) = pd.read_csv(evaluated / "certified.csv").to_dict("records")
    assert row["n"] == 12


def test_information_is_of_the_samples_that_are_drawn(tmp_path, run):
    how = ["--view", "mean", "--repeats", "1", "--device", "cpu", "--out", str(tmp_path)]
    information.main([PLACE, "--sample", "random:40:1", *how])
    table = pd.read_csv(tmp_path / "information.csv")
    data, model = run.data(data_dir=None, download=False), run.model()
    for name, split in (("train", data.train), ("test", data.test)):
        rows = np.sort(np.random.RandomState(1).permutation(len(split))[:40])
        found = dict(measured(model, split[torch.from_numpy(rows)], view="mean").rows)["decoder_cross_entropy"]
        (row,) = table[(table["split"] == name) & (table["quantity"] == "decoder_cross_entropy")].to_dict("records")
        assert (row["n"], row["nats"]) == (40, pytest.approx(found.nats, abs=1e-6))


def test_others_are_drawn_from_the_rest(test_part):
    for text in ("random:40:1", "stratified:40:1"):
        selection = selection_of(text)
        order = selection.in_front(test_part.y).tolist()
        assert sorted(order) == list(range(500))
        assert order[:40] == selection.numbers(test_part.y).tolist()
        assert order[40:] != sorted(order[40:])
    assert len(selection_of("random:900:1").numbers(test_part.y)) == 500


@pytest.mark.parametrize("command", ["audit", "certify", "evaluate", "information"])
def test_bad_samples_are_refused_in_one_line(tmp_path, capsys, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    for words, named in (
        (["--sample", "random:0:1"], "sample 'random:0:1': write random:N:SEED or stratified:N:SEED, N from 1 on"),
        (["--sample", "some:3"], "sample 'some:3': write random:N:SEED"),
        (["--sample", ""], "sample '': write random:N:SEED"),
        (["--sample", "random:3", "--samples", "4"], "--sample random:3: leave out --samples 4; one of them says"),
    ):
        refused(tmp_path, capsys, monkeypatch, [command, PLACE, *words], [named])


def test_samples_that_the_results_lack(tmp_path, few_checks, capsys, monkeypatch):
    monkeypatch.setattr("ibrobust.commands.evaluate.print_report", lambda *_args, **_settings: None)
    evaluate.main([PLACE, *ASKED, "--eps", "0.1", "--samples", "20", "--out", str(tmp_path)])
    for command in ("audit", "certify"):
        words = (command, PLACE, *ASKED, "--results", str(tmp_path))
        code, said = exit_of(capsys, monkeypatch, *words, "--sample", "random:25:1")
        assert code == 2, said
        line = said.splitlines()[-1]
        assert f"{RUN}: its results lack 25 of 25 samples, such as " in line
        assert line.endswith("; evaluate it with that sample (--sample random:25:1)")
        code, said = exit_of(capsys, monkeypatch, *words, "--sample", "random:501")
        assert code == 2
        assert f"sample 'random:501:0': {RUN} has 500 test samples" in said
    assert few_checks == []
