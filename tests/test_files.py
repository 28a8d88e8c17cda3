"""Files are whole or not there, and names that come from files are safe as paths."""

import errno
import os
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibrobust.errors import BadInput, one_line
from ibrobust.files import as_name, checked_name, written_whole

BAD_NAMES = [
    "", ".", "..", "../../x", "a/b", "a\\b", "/etc/x", ".hidden", "a b", "a\nb", "a\n", "é", "$x$", "=1", "a:b", "a\0b",
    "x" * 121, "x" * 300, 3, None, ["a"],
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES, ids=[ascii(name)[:12] for name in BAD_NAMES])
def test_a_name_that_is_no_name_is_refused_in_one_line_that_says_where(name):
    with pytest.raises(BadInput, match=re.escape("card 'x/card.json': run: ")) as refusal:
        checked_name(name, "card 'x/card.json': run")
    assert str(refusal.value) == one_line(str(refusal.value))
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("name", ["x", "digits-mlp-l2-g1e-05-s0-58b3331d", "-mlp", "_a.b", "a..b", "x" * 120])
def test_a_name_is_itself(name):
    assert checked_name(name, "run") == name
    assert as_name(name) == name


@given(st.text())
def test_any_text_becomes_a_name(text):
    assert checked_name(as_name(text), "name") == as_name(text)


def test_texts_that_differ_have_names_that_differ():
    texts = ["a b", "a$b", "a-b", "a  b", " a b", "x" * 200, "x" * 201, "", "."]
    assert len({as_name(text) for text in texts}) == len(texts)


@given(st.text())
def test_one_line_has_no_line_breaks(text):
    assert len(one_line(text).splitlines()) <= 1


def test_one_line_writes_out_what_breaks_lines_and_leaves_the_rest():
    assert one_line("a\nb\t\x1b[2Jé ε∞\u2028\udc80") == "a\\nb\\t\\x1b[2Jé ε∞\\u2028\\udc80"


KILLED = """
import os, signal, sys
from pathlib import Path
from ibrobust.files import written_whole
with written_whole(Path(sys.argv[1])) as unfinished:
    unfinished.write_text("half", encoding="utf-8")
    {then}
"""


def process(path, then):
    return subprocess.Popen(
        [sys.executable, "-c", KILLED.format(then=then), str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path):
    process(tmp_path / "figure.png", "os.kill(os.getpid(), signal.SIGKILL)").communicate()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".figure.png.")
    with written_whole(tmp_path / "another.csv") as unfinished:
        unfinished.write_text("whole", encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["another.csv"]


def test_what_a_living_process_writes_stays(tmp_path):
    writer = process(tmp_path / "figure.png", "print('writing', flush=True); input()")
    assert writer.stdout.readline().strip() == b"writing"
    with written_whole(tmp_path / "another.csv") as unfinished:
        unfinished.write_text("whole", encoding="utf-8")
    writer.communicate(b"\n")
    assert writer.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"another.csv", "figure.png"}
    assert (tmp_path / "figure.png").read_text(encoding="utf-8") == "half"


def test_a_file_of_somebody_else_stays(tmp_path):
    names = [".robustness.png.settings", ".unfinished", "x.unfinished", ".gitignore"]
    for name in names:
        (tmp_path / name).write_text("mine", encoding="utf-8")
    with written_whole(tmp_path / "a.csv"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {*names, "a.csv"}


def test_what_is_written_is_flushed_through_a_handle_that_may_write(tmp_path, monkeypatch):
    """Windows refuses to flush one that was opened for reading."""
    import fcntl

    flushed = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE))
    with written_whole(tmp_path / "a.csv"):
        pass
    assert flushed == [os.O_RDWR]


def test_without_locks_files_are_written_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("ibrobust.files.fcntl", None)
    (tmp_path / ".b.csv.12345678.unfinished").touch()
    with written_whole(tmp_path / "a.csv") as unfinished:
        unfinished.write_text("whole", encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_folder_where_the_file_should_be_is_refused(tmp_path):
    (tmp_path / "leaderboard.csv").mkdir()
    with pytest.raises(BadInput, match=r"leaderboard\.csv' is a folder"), written_whole(tmp_path / "leaderboard.csv"):
        pytest.fail("nothing is to be written")
    assert [path.name for path in tmp_path.iterdir()] == ["leaderboard.csv"]


def test_a_full_disk_is_told_with_the_path_and_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="No space") as refusal, written_whole(tmp_path / "a.csv"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert refusal.value.filename == str(tmp_path / "a.csv")
    assert not list(tmp_path.iterdir())
