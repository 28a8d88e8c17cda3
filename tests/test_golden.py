"""A small run from recipe to leaderboard, compared byte for byte: a refactoring that moves a digit is seen.

After a change that is meant to move digits: `python -m tests.test_golden` writes the new file.
"""

import tempfile
from pathlib import Path

from ibrobust.commands import evaluate, train
from tests.conftest import ROOT

GOLDEN = ROOT / "tests" / "golden" / "leaderboard.csv"


def leaderboard(folder: Path) -> bytes:
    """Two short runs under the paper protocol, 60 samples."""
    for words in (["--reg", "l2"], ["--reg", "dvib", "--gamma", "0.01"]):
        train.main([*words, "--epochs", "3", "--runs", str(folder / "runs")])
    evaluate.main(["--eps", "0:0.1:5", "--samples", "60", "--runs", str(folder / "runs"), "--out", str(folder / "out")])
    return (folder / "out" / "leaderboard.csv").read_bytes()


def test_the_leaderboard_of_a_small_run_has_not_moved(tmp_path):
    assert leaderboard(tmp_path).decode() == GOLDEN.read_text(encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        GOLDEN.write_bytes(leaderboard(Path(temporary)))
