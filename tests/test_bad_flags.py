"""Numbers and folders on the command line that cannot be used: one line that names the flag, exit code 2."""

import pytest

from tests.refusals import refused

HUGE = str(10**30)
FLAGS = [
    *[(["train", "--seed", seed], ["--seed", seed]) for seed in ("-1", str(2**63), str(2**64), HUGE, "9" * 5000)],
    *[(["train", f"--{name}", HUGE], [f"--{name}"]) for name in ("epochs", "latent", "batch-size", "train-samples")],
    *[([name, "--seed", seed], ["--seed"]) for name in ("evaluate", "audit") for seed in ("-1", str(2**64), "x")],
    *[
        ([name, flag, value], [flag])
        for name, flags in {
            "evaluate": ("--restarts", "--batch-size", "--workers", "--threads", "--samples"),
            "audit": ("--samples", "--workers", "--threads"),
            "certify": ("--samples", "--workers", "--threads"),
            "train": ("--workers", "--threads", "--epochs", "--latent"),
        }.items()
        for flag in flags
        for value in ("0", "-5", HUGE, "9" * 5000, "1.5", "")
    ],
    *[(["evaluate", "--generations", value], ["--generations"]) for value in ("-1", HUGE, "1.5", "")],
    *[(["evaluate", "--attack-seeds", value], ["--attack-seeds"]) for value in ("0", "-1", "1001", HUGE, "1.5", "")],
    (["evaluate", "--attack-seeds", "2", "--view", "fresh"], ["--attack-seeds 2", "view 'mean'"]),
    (["evaluate", "--attack-seeds", "2", "--protocol", "corruptions"], ["--attack-seeds 2", "no attacks"]),
    (["evaluate", "--eps", f"0:1:{HUGE}"], ["--eps"]),
    (["evaluate", "--eps", "0:1:100000000"], ["--eps"]),
    (["evaluate", "--eps", "1e400"], ["--eps"]),
    (["evaluate", "--eps", "1/0"], ["--eps"]),
    (["evaluate", "--eps", "9" * 5000 + "/1"], ["--eps"]),
    (["train", "--track-information", "every=0"], ["every=0"]),
    (["train", "--track-information", f"every={'9' * 5000}"], ["--track-information"]),
    (["train", "--gamma", "inf", "--reg", "l2"], ["--gamma"]),
    (["train", "--learning-rate", "nan"], ["--learning-rate"]),
    *[(["evaluate", "--gpu-share", value], ["--gpu-share"]) for value in ("0", "-1", "1.5", "nan", "x", "")],
    *[
        ([name, flag, value], [f"{flag} ", "engine 'local' runs on this machine alone; add --engine ray"])
        for name in ("train", "evaluate", "audit", "certify")
        for flag, value in (("--gpu-share", "0.5"), ("--address", "host:6379"))
    ],
    (["information", "zoo", "--address", "host:6379"], ["--address 'host:6379'"]),
    *[(["evaluate", "--samples", value], ["--samples"]) for value in ("5:2", "3:3", "a:b", ":", "-1:4", "1:2:3")],
    (["evaluate", "--keep-images", "all"], ["--keep-images", "'all'", "best", "each"]),
    (["evaluate", "--keep-images", "--view", "fresh"], ["--keep-images", "noise (fresh)"]),
    (["evaluate", "--keep-images", "--protocol", "corruptions"], ["--keep-images", "attacks nothing"]),
    (["evaluate", "--proofs", "sometimes"], ["--proofs", "'sometimes'", "never", "auto", "always"]),
    *[
        (["evaluate", "--proofs", how, *flags], ["--proofs: there are proofs for norm linf"])
        for how in ("auto", "always")
        for flags in (["--norm", "l2"], ["--view", "fresh"], ["--protocol", "corruptions"])
    ],
    *[(["export", "a file", "--pictures", value], ["--pictures"]) for value in ("0", "-5", HUGE, "1.5", "")],
    (["export", "nowhere"], ["nowhere"]),
    (["verify", "nowhere"], ["nowhere"]),
    (["verify", "a file"], ["a file"]),
    (["evaluate", "--columns", "all"], ["columns", "'all'", "own, standing"]),
    (["train", "--engine", "steam"], ["'steam'", "local"]),
    (["evaluate", "--engine", "steam"], ["'steam'", "local"]),
    (["train", "--recipe", "."], ["'.'"]),
    (["train", "--runs", "a file"], ["'a file'"]),
    (["evaluate", "--runs", "a file", "a file"], ["'a file'"]),
    (["evaluate", "--out", "a file"], ["'a file'"]),
    (["evaluate", "--out", "a file/below"], ["'a file/below'"]),
    (["evaluate", "--out", "x" * 300], ["xxx"]),
    (["audit", "--results", "a file"], ["'a file'"]),
    (["certify", "--results", "a file"], ["'a file'"]),
    (["information", "--out", "a file"], ["'a file'"]),
    (["histories", "runs", "--out", "a file"], ["'a file'"]),
    (["histories", "a file"], ["'a file'"]),
    (["report", "a file"], ["a file"]),
    (["report", "nowhere"], ["nowhere"]),
    (["compare", "a file", "a file"], ["a file"]),
    (["train", "--data", "mnist", "--data-dir", "a file"], ["'a file'"]),
    (["train", "--data", "a file"], ["'a file'"]),
]


@pytest.mark.parametrize(("words", "named"), FLAGS, ids=[" ".join(word[:24] for word in words) for words, _ in FLAGS])
def test_a_flag_is_refused(folder, capsys, monkeypatch, words, named):
    (folder / "a file").write_text("not a folder", encoding="utf-8")
    refused(folder, capsys, monkeypatch, words, named)
