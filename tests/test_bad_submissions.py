"""Submissions that are not what they say: each is refused in one line that says why, and nothing is added."""

import io
import json
import re
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ibrobust.commands import accept
from ibrobust.robustness.evidence import load_evidence, save_evidence
from ibrobust.robustness.storage import load_results, save_results
from tests.refusals import exit_of
from tests.submitted import AUDIT, CARD, IMAGES, RESULTS, RUN, WEIGHTS, made, parts_of, sealed, written


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The files of a submission that is accepted, by name."""
    return parts_of(made(tmp_path_factory.mktemp("good")))


def packed(parts, path, **how):
    return written([*parts.items()], path, **how)


def unsealed(name, content):
    """One of the files is another, and the manifest is as it was."""
    return lambda parts, path: packed({**parts, name: content}, path)


def resealed(change):
    """Files are changed, and the manifest has their new digests."""
    return lambda parts, path: packed(sealed({**parts, **change(parts)}), path)


def saying(**said):
    return lambda parts, path: packed(sealed(parts, **said), path)


def raw(change):
    """The bytes of the archive are changed."""

    def spoil(parts, path):
        packed(parts, path)
        path.write_bytes(change(path.read_bytes()))

    return spoil


def named(name):
    """One more file of this name."""
    return lambda parts, path: written([*sealed(parts).items(), (name, b"x")], path)


def images(change):
    """Images or rows of the evidence are changed, and everything else agrees."""

    def spoil(parts, path):
        file = path.parent / "images.parquet"
        file.write_bytes(parts[IMAGES])
        evidence, card = load_evidence(file)
        rows, pixels = evidence.rows.copy(), evidence.images.clone()
        card = change(rows, pixels, card) or card
        save_evidence(replace(evidence, rows=rows, images=pixels), card, file)
        packed(sealed({**parts, IMAGES: file.read_bytes()}), path)
        file.unlink()

    return spoil


def results(change):
    """Rows of the results are changed, and the digests agree."""

    def spoil(parts, path):
        file = path.parent / "results.parquet"
        file.write_bytes(parts[RESULTS])
        stored = load_results(file)
        rows = stored.rows.copy()
        save_results(replace(stored, rows=rows, card=change(rows, stored.card) or stored.card), file)
        packed(sealed({**parts, RESULTS: file.read_bytes()}), path)
        file.unlink()

    return spoil


def set_row(table, row, column, value):
    table.loc[row, column] = value


def set_pixel(value):
    def change(rows, pixels, card):
        pixels[-1, 0, 0, 0] = value

    return change


def other_weights(rows, pixels, card):
    return card.model_copy(update={"model": card.model.model_copy(update={"weights_sha256": "0" * 64})})


def every_attack_fails(rows, card):
    """The strongest claim of all."""
    right = rows["label"] == rows["prediction"]
    for name in card.attacks:
        rows.loc[right, name] = np.float32(np.inf)


def claim(field, value):
    def spoil(parts, path):
        claims = json.loads(parts["submission.json"])["claims"]
        packed(sealed(parts, claims=[claims[0] | {field: value}]), path)

    return spoil


def bomb(parts):
    """A few kilobytes that say six million rows."""
    file = io.BytesIO()
    table = pa.table({"sample": pa.array(np.zeros(2_000_000, np.int8))})
    with pq.ParquetWriter(file, table.schema, compression="zstd") as writer:
        for _ in range(3):
            writer.write_table(table)
    assert len(file.getvalue()) < 30_000
    return {RESULTS: file.getvalue()}


def long_names(parts):
    file = io.BytesIO()
    pq.write_table(pa.table({"sample": [0, 1], "attack": ["a" * 100_000] * 2}), file)
    return {RESULTS: file.getvalue()}


def first_value(text):
    """The first finding's value, the second cell that is a number, made another."""
    lines = text.decode().splitlines()
    cells = lines[1].split(",")
    place = next(place for place, cell in enumerate(lines[0].split(",")) if cell == "value")
    return "\n".join([lines[0], ",".join([*cells[:place], "0.9999", *cells[place + 1 :]]), *lines[2:], ""]).encode()


BAD = {
    "no archive": (lambda parts, path: path.write_text("hello"), "not a whole submission"),
    "nothing": (lambda parts, path: path.write_bytes(b""), "not a whole submission"),
    "a folder": (lambda parts, path: path.mkdir(), "it is a folder"),
    "not there": (lambda parts, path: None, "there is no such file"),
    "half": (raw(lambda content: content[: len(content) // 2]), "not a whole submission"),
    "bytes in front": (raw(lambda content: b"#!/bin/sh\n" + content), "bytes that belong to no file"),
    "bytes behind": (raw(lambda content: content + b"\0" * 9), "whole submission|belong to no file"),
    "one bit": (raw(lambda content: content.replace(b"PAR1", b"PAR2", 1)), f"{RESULTS}|{IMAGES} is not what"),
    "compressed": (lambda parts, path: packed(parts, path, deflate=RESULTS), f"{RESULTS} is compressed"),
    "a link": (
        lambda parts, path: packed(parts, path, mode=stat.S_IFLNK | 0o777), "is a link or something else",
    ),
    "above the folder": (named("../../etc/passwd"), "nothing that a submission holds"),
    "from the root": (named("/etc/passwd"), "nothing that a submission holds"),
    "with backslashes": (named("results\\strict\\x.parquet"), "nothing that a submission holds"),
    "code": (named(f"runs/{RUN}/model.py"), "nothing that a submission holds"),
    "a pickle": (named(f"runs/{RUN}/weights.pt"), "nothing that a submission holds"),
    "one more": (named("results/paper/x.parquet"), "is not in submission.json"),
    "twice": (lambda parts, path: written([*parts.items(), (RESULTS, b"")], path), "is there twice"),
    "twice by case": (named(RESULTS.replace("strict", "STRICT")), "is there twice"),
    "one less": (
        lambda parts, path: packed({name: parts[name] for name in parts if name != AUDIT}, path), "and not in the file",
    ),
    "no manifest": (
        lambda parts, path: packed({name: parts[name] for name in [*parts][1:]}, path), "its first file is not",
    ),
    "other bytes": (unsealed(AUDIT, b"run\n"), f"{AUDIT} is not what submission.json says"),
    "manifest of no JSON": (unsealed("submission.json", b"{"), "submission.json: it is no JSON"),
    "a deep manifest": (unsealed("submission.json", b"[" * 100_000), "submission.json: it is no JSON"),
    "a key twice": (unsealed("submission.json", b'{"run": "a", "run": "b"}'), "a key is there twice"),
    "an unknown key": (saying(command="rm -rf /"), "submission.json: command"),
    "another format": (saying(format=2), "submission.json: format"),
    "a hostile name": (saying(run="<script>"), "submission.json: run: run: '<script>' is no name"),
    "another name": (saying(run="other"), f"it is of {RUN}, and the submission is of other"),
    "no licence": (saying(licence=None), "it lacks the model's licence"),
    "a licence of markup": (saying(licence="<b>MIT</b>"), "submission.json: licence"),
    "a count": (claim("samples", 501), "samples of .* is 501, and its files say"),
    "a curve": (claim("standing", [500] * 11), "standing of .* is .*500, 500.*, and its files say"),
    "a verdict": (claim("verdict", "masked"), "verdict of .* is masked, and its files say trusted"),
    "two claims of one file": (
        lambda parts, path: packed(sealed(parts, claims=2 * json.loads(parts["submission.json"])["claims"]), path),
        "two of its claims",
    ),
    "results that are none": (resealed(lambda parts: {RESULTS: b"PAR1"}), f"{RESULTS} is not a whole Parquet file"),
    "more rows than a result": (resealed(bomb), "it says that it holds 6000000 rows"),
    "texts longer than names": (resealed(long_names), "texts of its column attack are longer than names"),
    "a radius that was not tried": (results(lambda rows, card: set_row(rows, 0, "pgd", 0.0123)), "which is no radius"),
    "an attack that failed": (results(every_attack_fails), f"{AUDIT}: row 1 .* is no finding|its radius is not that"),
    "a verdict of nothing": (
        results(lambda rows, card: card.model_copy(update={"verdict": "masked"})), "is not that of its findings",
    ),
    "a finding": (resealed(lambda parts: {AUDIT: first_value(parts[AUDIT])}), "is no finding of the audit of exactly"),
    "no number": (images(set_pixel(torch.nan)), r"pixels outside \[0, 1\]: samples \["),
    "too bright": (images(set_pixel(1.5)), r"pixels outside \[0, 1\]"),
    "out of the ball": (images(set_pixel(0.9)), r"beyond the radius: samples \["),
    "a smaller radius": (
        images(lambda rows, pixels, card: set_row(rows, len(rows) - 1, "radius", 0.01)), "its radius is not that of",
    ),
    "another label": (images(lambda rows, pixels, card: set_row(rows, 0, "label", 9)), "its label is not that of"),
    "another sample": (images(lambda rows, pixels, card: set_row(rows, 0, "sample", 10_000)), "not among the results"),
    "images of other weights": (images(other_weights), "its card is not that of the results"),
    "other weights": (resealed(lambda parts: {WEIGHTS: b"\0" * 99}), "are not the weights that the results are about"),
    "a run of another recipe": (
        resealed(lambda parts: {CARD: parts[CARD].replace(b'"gamma": 0.1', b'"gamma": 0.2')}),
        "its recipe is not that of the results",
    ),
    "weights without a card": (
        lambda parts, path: packed(sealed({n: parts[n] for n in parts if n != CARD}), path), "it has no card.json",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_submission_is_refused_in_one_line(good, tmp_path, monkeypatch, capsys, kind):
    monkeypatch.chdir(tmp_path)
    spoil, reason = BAD[kind]
    spoil(good, Path("bad.zip"))
    code, err = exit_of(capsys, monkeypatch, "accept", "bad.zip")
    assert code == 2, err
    assert err.startswith("error: bad.zip: "), err
    assert err.count("\n") == 1, err
    assert re.search(reason, err), err
    assert "ibrobust-" not in err, "no temporary folder is named"
    assert not Path("leaderboard").exists()


def test_the_same_files_as_they_were_are_accepted(good, tmp_path, monkeypatch):
    """What the others change is all that is wrong with them."""
    monkeypatch.chdir(tmp_path)
    accept.main([str(packed(sealed(good), tmp_path / "good.zip")), "--check"])
    assert not Path("leaderboard").exists()
