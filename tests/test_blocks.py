"""However an evaluation, an audit or a certificate is cut, and however often it is interrupted: the same bytes, and
nothing that was finished is done again."""

import errno
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from ibrobust.commands import evaluate
from ibrobust.experiments import attacked_blocks, audited_subjects, certification, checked_claims, evaluation, pieces
from ibrobust.experiments.evaluation import evaluate_subject, evaluate_subjects, results_path
from ibrobust.experiments.pace import Pace
from ibrobust.experiments.progress import Watch
from ibrobust.experiments.stored_claims import stored_claim
from ibrobust.experiments.subject import foreign_subject, run_subject
from ibrobust.experiments.unfinished import FOLDER, Unfinished
from ibrobust.files import released_zoo
from ibrobust.robustness.question import Execution
from ibrobust.robustness.settings import make_settings
from ibrobust.robustness.storage import load_results
from ibrobust.subjects.zoo import load_run
from tests.refusals import RUN, exit_of

SAMPLES = 44
SETTINGS = make_settings({"eps": "0.05,0.1", "attacks": "fgsm,pgd,deepfool"})


@pytest.fixture(scope="module")
def subject():
    return run_subject(load_run(released_zoo() / "runs" / RUN), data_dir=None, download=False)


@pytest.fixture(scope="module")
def whole(subject, tmp_path_factory):
    """What an evaluation in one block leaves."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Pace, "size", lambda _self, _piece, left, _all: left)
        evaluate_subject(subject, (0, SAMPLES), SETTINGS, Execution(kept="each"), out=folder)
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def in_blocks(monkeypatch, *sizes: int) -> list[range]:
    """Cut into blocks of these sizes, over and over; what is attacked, as it is."""
    given, attacked = iter(sizes * 50), []
    monkeypatch.setattr(Pace, "size", lambda _self, _piece, left, _all: min(next(given), left))
    call = attacked_blocks.AttackedBlocks.__call__

    def noted(self, block, tell):
        if not block.look:
            attacked.append(block.rows)
        return call(self, block, tell)

    monkeypatch.setattr(attacked_blocks.AttackedBlocks, "__call__", noted)
    return attacked


def interrupted_after(monkeypatch, owner, name: str, calls: int, error: BaseException) -> None:
    """The next call of a function, after so many, raises."""
    real, made = getattr(owner, name), []

    def function(*args, **kwargs):
        made.append(args)
        if len(made) > calls:
            raise error
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, function)


@pytest.mark.parametrize("sizes", [(16,), (7, 1, 20), (43, 1)])
def test_the_cut_changes_no_byte_of_results_and_images(subject, whole, monkeypatch, tmp_path, sizes):
    attacked = in_blocks(monkeypatch, *sizes)
    evaluate_subject(subject, (0, SAMPLES), SETTINGS, Execution(kept="each"), out=tmp_path)
    assert len(attacked) > 1
    assert contents(tmp_path) == whole


def test_a_block_of_large_images_holds_few(subject, whole, monkeypatch, tmp_path):
    """Memory does not grow with how fast the model is; the bytes are the same."""
    attacked = in_blocks(monkeypatch, SAMPLES)
    image = subject.test.x[:1]
    monkeypatch.setattr(evaluation, "_BLOCK_BYTES", 20 * image.numel() * image.dtype.itemsize)
    evaluate_subject(subject, (0, SAMPLES), SETTINGS, Execution(kept="each"), out=tmp_path)
    assert [len(rows) for rows in attacked] == [20, 20, 4]
    assert contents(tmp_path) == whole


def test_an_interrupted_evaluation_goes_on_and_does_no_block_again(subject, whole, monkeypatch, tmp_path):
    with monkeypatch.context() as first:
        attacked = in_blocks(first, 11)
        interrupted_after(first, evaluation, "_save", 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            evaluate_subject(subject, (0, SAMPLES), SETTINGS, Execution(kept="each"), out=tmp_path)
    assert attacked == [range(11), range(11, 22), range(22, 33)]
    again = in_blocks(monkeypatch, 16)
    evaluate_subject(subject, (0, SAMPLES), SETTINGS, Execution(kept="each"), out=tmp_path)
    assert again == [range(22, 38), range(38, 44)]
    assert contents(tmp_path) == whole


def test_blocks_of_other_settings_or_damaged_ones_are_of_no_use(subject, whole, monkeypatch, tmp_path):
    place = Unfinished(results_path(subject, SETTINGS, tmp_path).parent / FOLDER / RUN)
    with monkeypatch.context() as first:
        in_blocks(first, 22)
        interrupted_after(first, evaluation, "save_results", 2, KeyboardInterrupt())
        other = SETTINGS.model_copy(update={"seed": 1})
        with pytest.raises(KeyboardInterrupt):
            evaluate_subject(subject, (0, SAMPLES), other, Execution(kept="each"), out=tmp_path)
    assert place.path(range(22)).is_file()
    place.path(range(22, 44)).write_bytes(b"PAR1, and no more")
    again = in_blocks(monkeypatch, 22)
    evaluate_subject(subject, (0, SAMPLES), SETTINGS, Execution(kept="each"), out=tmp_path)
    assert again == [range(22), range(22, 44)]
    assert contents(tmp_path) == whole


def test_what_the_card_says_of_lost_gradients_does_not_depend_on_the_cut(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\nclass Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.a = nn.Linear(16, 2)\n"
        "    def forward(self, x):\n        return self.a(x.flatten(1).sqrt())\n"
        "def make():\n    torch.manual_seed(0)\n    return Net()\n", encoding="utf-8")  # fmt: skip
    images = np.random.default_rng(0).random((40, 1, 4, 4), np.float32)
    images[[3, 30]] = 0
    np.savez(tmp_path / "mine.npz", x=images, y=np.arange(40) % 2)
    mine = foreign_subject(f"{tmp_path / 'net.py'}:make", str(tmp_path / "mine.npz"), data_dir=None, download=False)
    settings, found = make_settings({"eps": "0.05", "attacks": "fgsm"}), []
    for sizes in ((40,), (16, 24)):
        in_blocks(monkeypatch, *sizes)
        told: list[str] = []
        watch = Watch(warn=lambda _name, text, told=told: told.append(text))
        out = tmp_path / str(len(sizes))
        list(evaluate_subjects([mine], None, settings, Execution(), out=out, watch=watch))
        (sentence,) = [text for text in told if "NaN" in text]
        assert "on 2 of 40 samples" in sentence
        found.append(contents(out))
    assert found[0] == found[1]


def test_a_disk_that_is_full_in_the_middle_of_images_keeps_what_is_finished(folder, capsys, monkeypatch):
    attacked = in_blocks(monkeypatch, 16)
    words = ["evaluate", "--samples", "40", "--eps", "0.1", "--attacks", "fgsm", "--keep-images"]
    with monkeypatch.context() as full:
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "results/paper/images/a.parquet")
        interrupted_after(full, evaluation, "save_evidence", 1, error)
        code, err = exit_of(capsys, monkeypatch, *words)
    assert code == 1
    assert err.splitlines()[-1].startswith("error: results/paper/images/a.parquet: no room is left on the device")
    assert err.count("error") == 1
    code, err = exit_of(capsys, monkeypatch, *words)
    assert not code, err
    assert attacked == [range(16), range(16, 32), range(16, 32), range(32, 40)]
    (results,) = (folder / "results").glob("fgsm*/*.parquet")
    assert len(load_results(results).rows) == 40


def test_an_evaluation_waits_for_another_of_the_same_results_and_takes_what_it_leaves(subject, tmp_path, monkeypatch):
    path = results_path(subject, SETTINGS, tmp_path)
    other, said = Unfinished(path.parent / FOLDER / path.stem), []
    assert other.hold()

    def other_ends(_seconds):
        monkeypatch.undo()
        other.release()
        evaluate_subject(subject, (0, 20), SETTINGS, Execution(), out=tmp_path)

    monkeypatch.setattr(pieces.time, "sleep", other_ends)
    watch = Watch(say=said.append)
    ((_, found, seconds),) = evaluate_subjects([subject], (0, 20), SETTINGS, Execution(), out=tmp_path, watch=watch)
    assert said == [f"waiting for another process, which works on {RUN}"]
    assert (found, seconds) == (path, None)
    assert list(contents(tmp_path)) == [path.relative_to(tmp_path).as_posix()]


def test_an_interrupted_certificate_goes_on(subject, monkeypatch, tmp_path):
    evaluate_subject(subject, (0, 40), SETTINGS, Execution(), out=tmp_path)
    stored = stored_claim(subject, SETTINGS, tmp_path)
    assert stored
    claims, path, bounded = [(subject, stored[1])], tmp_path / "certified.csv", []
    whole = certification.certify_subjects(claims, tmp_path / "whole.csv", device="cpu")
    real = certification.certified_in_turn

    def noted(model, x, *args, **kwargs):
        bounded.append(len(x))
        if len(bounded) == 3:
            raise KeyboardInterrupt
        return real(model, x, *args, **kwargs)

    monkeypatch.setattr(certification, "certified_in_turn", noted)
    monkeypatch.setattr(Pace, "size", lambda _self, _piece, left, _all: min(16, left))
    with pytest.raises(KeyboardInterrupt):
        certification.certify_subjects(claims, path, device="cpu")
    assert not path.exists()
    assert certification.certify_subjects(claims, path, device="cpu").equals(whole)
    assert bounded == [16, 16, 8, 8]
    assert path.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not (tmp_path / FOLDER).exists()


def test_an_interrupted_audit_goes_on_with_the_checks_that_are_left(subject, monkeypatch, tmp_path):
    settings, found, ran = make_settings({"eps": "0.05,0.1", "attacks": "fgsm,pgd"}), [], []
    real = checked_claims.findings_of

    def noted(case, names, *, progress):
        ran.append(names)
        if len(ran) == 3:
            raise KeyboardInterrupt
        return real(case, names, progress=progress)

    def audited(out):
        claims = [audited_subjects.ToAudit(subject, None, settings)]
        (only,) = audited_subjects.audit_subjects(claims, device="cpu", samples=12, out=out)
        return only

    few = ("zero-gradient", "same-answer", "slope", "repeatable")
    monkeypatch.setattr(audited_subjects, "CHECKS", {name: audited_subjects.CHECKS[name] for name in few})
    found.append(audited(tmp_path / "whole"))
    monkeypatch.setattr(checked_claims, "findings_of", noted)
    with pytest.raises(KeyboardInterrupt):
        audited(tmp_path / "cut")
    found.append(audited(tmp_path / "cut"))
    assert str(found[0].audit) == str(found[1].audit)
    assert ran == [("zero-gradient",), ("same-answer",), ("slope",), ("slope",), ("repeatable",)]
    assert contents(tmp_path / "whole") == contents(tmp_path / "cut")


def test_one_command_line_killed_and_started_again(folder, forked, monkeypatch):
    """`kill -9` of a process when its first block is there."""
    monkeypatch.setattr("ibrobust.figures.style.save_figure", lambda *_: [])
    words = ["--samples", "500", "--eps", "0:0.1:41", "--out"]
    evaluate.main([*words, "calm"])
    process = forked("benchmarks.small_blocks", "evaluate", *words, "killed", cwd=folder)
    while process.poll() is None and not (kept := list(folder.rglob("killed/*/.unfinished/*/*.parquet"))):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    stamps = {path: path.stat().st_mtime_ns for path in kept}
    assert stamps
    attacked = in_blocks(monkeypatch, 300)
    evaluate.main([*words, "killed"])
    assert not {sample for path in stamps for sample in block_of(path)} & {
        sample for rows in attacked for sample in rows
    }
    ours, theirs = (contents(folder / name) for name in ("calm", "killed"))
    assert {name: ours[name] for name in ours if name != "timings.csv"} == {
        name: theirs[name] for name in theirs if name != "timings.csv"
    }


def block_of(path: Path) -> range:
    first, _, last = path.stem.partition("-")
    return range(int(first), int(last))
