"""A machine without room: one line that says where and what is needed, what is finished is kept, exit code 1."""

import errno
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ibrobust.commands.command_line import run
from ibrobust.commands.refusals import refusal
from ibrobust.commands.stored_results import stored_results
from ibrobust.errors import BadInput
from ibrobust.files import released_zoo
from ibrobust.robustness.storage import load_results
from ibrobust.subjects.zoo import find_runs, load_run
from tests.conftest import ROOT
from tests.refusals import RUN, copy_few_results, exit_of

OTHER = "digits-mlp-l2-g0.1-s0-e99535be"
EVALUATE = ["evaluate", "--samples", "5", "--eps", "0.1"]
COMMANDS = [
    EVALUATE,
    ["train", "--epochs", "1"],
    ["audit", "--samples", "5"],
    ["information", "--samples", "50", "--repeats", "1", "--noise", "mean"],
    ["report", "few", "--protocol", "strict-rand"],
    ["histories", "runs"],
]


@pytest.fixture(autouse=True)
def _results_to_report(tmp_path):
    copy_few_results(tmp_path / "few")


def failed_in_one_line(code: int, err: str, *named: str) -> None:
    assert code == 1
    lines = [line for line in err.splitlines() if "%|" not in line]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    for name in named:
        assert name in lines[0]


@pytest.mark.parametrize("words", COMMANDS, ids=[words[0] for words in COMMANDS])
@pytest.mark.parametrize("step", ["fsync", "mkstemp"])
def test_a_full_disk(folder, capsys, monkeypatch, words, step):
    """Full when a file is flushed, and without a free inode when it is made."""

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os if step == "fsync" else tempfile, step, full)
    code, err = exit_of(capsys, monkeypatch, *words)
    failed_in_one_line(code, err, "no room is left on the device", "the same command goes on")
    assert any(f"{place}/" in err for place in ("results", "runs", "report")), "which folder"
    assert not [path for path in folder.rglob("*.unfinished") if path.is_file()]


def test_what_is_finished_before_the_disk_is_full_is_kept(folder, capsys, monkeypatch):
    shutil.copytree(released_zoo() / "runs" / OTHER, folder / "runs" / OTHER)
    # Two files per run: its only shard, and its results; and its time.
    calls, flush = [], os.fsync

    def full_later(handle):
        calls.append(handle)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(handle)

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", full_later)
        code, err = exit_of(capsys, monkeypatch, *EVALUATE)
    failed_in_one_line(code, err, "no room is left on the device")
    (kept,) = (folder / "results" / "paper").glob("*.parquet")
    written = kept.stat().st_mtime_ns
    code, _ = exit_of(capsys, monkeypatch, *EVALUATE)
    assert not code
    assert len(list((folder / "results" / "paper").glob("*.parquet"))) == 2
    assert kept.stat().st_mtime_ns == written
    assert len(load_results(kept).rows) == 5


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device here")
@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["report", "few", "--protocol", "strict-rand"]])
def test_an_output_that_is_full(tmp_path, words):
    with open("/dev/full", "w", encoding="utf-8") as full:
        finished = subprocess.run(
            [sys.executable, "-m", "ibrobust", *words], stdout=full, stderr=subprocess.PIPE, encoding="utf-8",
            check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    failed_in_one_line(finished.returncode, finished.stderr, "standard output: no room is left")
    if words[0] == "report":
        assert (tmp_path / "report" / "leaderboard.csv").is_file(), "written before it is printed"


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (OSError(errno.ENFILE, "Too many open files in system"), "--workers"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "results/a.csv"), "results/a.csv: the disk quota"),
        (PermissionError(errno.EACCES, "Permission denied", "runs/card.json"), "runs/card.json: Permission denied"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: can't allocate memory: 8 GB"), "memory"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "memory"),
        (RuntimeError("can't start new thread"), "memory"),
        (
            RuntimeError("unable to allocate shared memory(shm) for file </torch_1_0>: No space left on device (28)"),
            "/dev/shm: no room",
        ),
        (RuntimeError("unable to open shared memory object </torch_1> in read-write mode: Too many (24)"), "ulimit -n"),
    ],
)  # fmt: skip
def test_each_way_to_say_that_there_is_no_room_is_one_line(capsys, monkeypatch, error, named):
    def fails(_arguments):
        raise error

    monkeypatch.setattr(sys, "argv", ["ibrobust"])
    with pytest.raises(SystemExit) as stop:
        run(fails)
    failed_in_one_line(stop.value.code, capsys.readouterr().err, named)


def test_what_is_a_bug_keeps_its_traceback(monkeypatch):
    def fails(_arguments):
        raise RuntimeError("shapes (3) and (4)")

    assert refusal(RuntimeError("shapes (3) and (4)")) is None
    monkeypatch.setattr(sys, "argv", ["ibrobust"])
    with pytest.raises(RuntimeError, match="shapes"):
        run(fails)


def limited(which: int, limit: int, *words: str, cwd) -> subprocess.CompletedProcess[str]:
    def lower():
        resource.setrlimit(which, (limit, limit))

    return subprocess.run(
        [sys.executable, "-m", "ibrobust", *words], capture_output=True, encoding="utf-8", check=False, cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, preexec_fn=lower,
    )  # fmt: skip


def test_few_open_files_for_two_workers(folder):
    shutil.copytree(released_zoo() / "runs" / OTHER, folder / "runs" / OTHER)
    finished = limited(resource.RLIMIT_NOFILE, 14, *EVALUATE, "--workers", "2", cwd=folder)
    failed_in_one_line(finished.returncode, finished.stderr, "too many files are open", "ulimit -n")


def test_little_address_space(folder):
    finished = limited(resource.RLIMIT_AS, 2**30, *EVALUATE, cwd=folder)
    failed_in_one_line(finished.returncode, finished.stderr, "1.0 GB of address space", "ulimit -v")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_what_may_not_be_read_is_named_and_not_left_out():
    place = Path(tempfile.mkdtemp())
    try:
        place.chmod(0o755)
        run_folder = shutil.copytree(released_zoo() / "runs" / RUN, place / "runs" / "run")
        shutil.copytree(released_zoo() / "runs" / OTHER, place / "runs" / "other")
        results = shutil.copytree(released_zoo() / "results" / "strict-rand", place / "results" / "strict-rand")
        (run_folder / "card.json").chmod(0o600)
        os.seteuid(65534)
        with pytest.raises(BadInput, match=r"card .*card\.json' cannot be read: Permission denied"):
            load_run(run_folder)
        os.seteuid(0)
        run_folder.chmod(0o700)
        results.chmod(0o700)
        os.seteuid(65534)
        with pytest.raises(PermissionError, match=r"run/card\.json"):
            find_runs([place / "runs"])
        with pytest.raises(PermissionError, match="results/strict-rand"):
            stored_results([place / "results"])
    finally:
        os.seteuid(0)
        shutil.rmtree(place)
