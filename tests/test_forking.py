"""A command that is forked behaves as one that is started: folder, words, environment, what it says, how it ends."""

import signal

import pytest

TOLD = """
import os, sys, threading
print(os.getcwd(), *sys.argv[1:], os.environ["IBROBUST_TOLD"], __name__)
print("wrong", file=sys.stderr)
threading.Thread(target=lambda: print("late")).start()
"""
ENDS = {"": 0, "sys.exit(3)": 3, "sys.exit('why')": 1, "1 / 0": 1, "os.kill(os.getpid(), 9)": -9}


@pytest.mark.parametrize("end", ENDS)
def test_words_folder_environment_output_and_exit_code(forked, tmp_path, monkeypatch, end):
    monkeypatch.setenv("IBROBUST_TOLD", "told")
    (tmp_path / "telling.py").write_text(TOLD + ("sys.stdout.flush(); " if "kill" in end else "") + end)
    process = forked("telling", "a", "b c", cwd=tmp_path)
    assert process.wait() == ENDS[end]
    out, err = process.said()
    assert out.startswith(f"{tmp_path} a b c told __main__\n")
    assert ("late" in out) or "kill" in end
    assert err.startswith("wrong\n")
    assert err.endswith(
        {"sys.exit('why')": "why\n", "1 / 0": "ZeroDivisionError: division by zero\n"}.get(end, "wrong\n")
    )


def test_it_can_be_killed_and_two_run_at_a_time(forked, tmp_path):
    (tmp_path / "waiting.py").write_text("import time\ntime.sleep(100)")
    first, second = (forked("waiting", cwd=tmp_path) for _ in range(2))
    assert first.poll() is second.poll() is None
    for process, number in ((second, signal.SIGKILL), (first, signal.SIGTERM)):
        process.send_signal(number)
        assert process.wait() == -number
        assert process.poll() == -number


def test_the_package_is_without_the_tests_checks_there(forked, tmp_path):
    (tmp_path / "looking.py").write_text("import ibrobust.images as i; print(hasattr(i.as_images, '__wrapped__'))")
    process = forked("looking", cwd=tmp_path)
    assert process.wait() == 0
    assert process.said()[0] == "False\n"
