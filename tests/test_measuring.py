"""Measurements of information shared by workers, killed and taken up again: the same bytes, and nothing done twice."""

from pathlib import Path

import pytest

from ibrobust.commands import information
from ibrobust.experiments import measuring
from ibrobust.files import released_zoo
from tests.refusals import RUN

OTHER = "digits-mlp-none-g0-s0-cfa64d5e"
QUICK = ["--samples", "40", "--repeats", "1"]


def measure(out: Path, *words: str) -> dict[str, bytes]:
    """The command on a run, or on those that are named; what it left in its folder."""
    runs = [word for word in words if word.startswith("digits-")] or [RUN]
    flags = [word for word in words if word not in runs]
    information.main([*(str(released_zoo() / "runs" / run) for run in runs), *QUICK, *flags, "--out", str(out)])
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def counted(monkeypatch, *, until: int = 99) -> list[str]:
    """The views that are measured; the measurement after so many is interrupted."""
    made, real = [], measuring.measured

    def measured(*args, **kwargs):
        if len(made) == until:
            raise KeyboardInterrupt
        made.append(kwargs["view"])
        return real(*args, **kwargs)

    monkeypatch.setattr(measuring, "measured", measured)
    return made


def interrupted(monkeypatch, out: Path, *words: str, until: int) -> None:
    with monkeypatch.context() as patched:
        counted(patched, until=until)
        with pytest.raises(KeyboardInterrupt):
            measure(out, *words)


def test_workers_leave_the_same_bytes(tmp_path):
    words = [RUN, OTHER, "--view", "mean"]
    alone = measure(tmp_path / "one", *words)
    assert list(alone) == ["information.csv"]
    assert measure(tmp_path / "two", *words, "--workers", "2") == alone


def test_an_interrupted_measurement_goes_on_and_does_nothing_again(monkeypatch, tmp_path):
    with monkeypatch.context() as patched:
        calm = counted(patched)
        whole = measure(tmp_path / "whole")
    assert calm == ["mean", "fresh", "averaged:12"] * 2
    out = tmp_path / "out"
    interrupted(monkeypatch, out, until=4)
    assert len(list(out.glob(f".unfinished/information/{RUN}/*.json"))) == 4
    again = counted(monkeypatch)
    assert measure(out) == whole
    assert again == calm[4:]


def test_other_questions_and_damaged_measurements_are_of_no_use(monkeypatch, tmp_path):
    words, out = ["--view", "mean"], tmp_path / "out"
    whole = measure(tmp_path / "whole", *words)
    interrupted(monkeypatch, out, *words, "--seed", "1", until=1)
    interrupted(monkeypatch, out, *words, until=1)  # It does not take what another seed gave.
    (kept,) = out.glob(".unfinished/information/*/train-mean.json")
    kept.write_text(kept.read_text()[:100])
    again = counted(monkeypatch)
    assert measure(out, *words) == whole
    assert again == ["mean", "mean"]
