"""Released files, damaged at random but the same way every time: whatever reads them ends well or refuses in one line.

`python -m tests.fuzzing 2000` tries so many and prints how they ended.
"""

import hashlib
import io
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ibrobust.commands import command_line, histories
from ibrobust.entropies.table import information_text, read_information
from ibrobust.experiments.timings import save_timing
from ibrobust.figures.panels import entropies_figure, plane_figure
from ibrobust.files import released_zoo
from ibrobust.recipe import recipes_in
from ibrobust.robustness.findings import earlier_findings
from ibrobust.subjects.zoo import find_runs, load_run
from tests.fuzzed_results import RESULTS, damaged_card, damaged_rows, read_results

RUN = released_zoo() / "runs" / "digits-mlp-l2-g0.001-s0-22d0aead"
ODD: list[Any] = [
    None, True, -1, 0, 3, 2**31, 2**64, 10**30, -0.5, float("nan"), float("inf"), "", "x", "../../x", "=1+1", "a\nb",
    "$x$", "x" * 300, "\ud800", [], {}, [1, 2], [[[]]], {"a": {"b": 1}}, "none", "auto", "0.1", "nan", "learned",
]  # fmt: skip
TOKENS = [
    b"nan",
    b"-1",
    b"1e999",
    b"9" * 5000,
    b"=1",
    b",",
    b'"',
    b"\n",
    b"[",
    b"]",
    b"{",
    b"\x00",
    b"\xff",
    b"[run]\n",
]
CELLS = [
    b"",
    b"nan",
    b"inf",
    b"-inf",
    b"-1",
    b"0",
    b"1e308",
    b"1e-320",
    b"9" * 30,
    b"1.5",
    b"x",
    b"=1",
    b"$x$",
    b"True",
]
TIMINGS = b"protocol,results,seconds\npaper,a,1.5\nstrict,b,20\n"
TRAJECTORY = b"run,epoch,split,view,quantity,estimator,k,n,nats,bias,low,high\n" + b"".join(
    b"a,%d,train,fresh,%s,%s,3,100,4.5,0.5,0,10\n" % (epoch, quantity, estimator)
    for epoch in (1, 2, 3)
    for quantity, estimator in (
        (b"encoding_entropy", b"knn-l2"), (b"preserved_information", b"knn-l2"), (b"residual_information", b"decoder"),
    )
)  # fmt: skip


def damaged(content: bytes, dice: random.Random) -> bytes:
    """One to three changes anywhere: bytes flipped, cut, doubled, or replaced by what is odd."""
    for _ in range(dice.randint(1, 3)):
        start = dice.randrange(len(content) + 1)
        end = min(start + dice.choice((0, 1, 4, 40)), len(content))
        new = dice.choice((b"", content[start:end] * 2, dice.randbytes(3), dice.choice(TOKENS)))
        content = content[:start] if dice.random() < 0.05 else content[:start] + new + content[end:]
    return content


def damaged_cells(content: bytes, dice: random.Random) -> bytes:
    """One to three cells of a table replaced by what is odd; the table stays one."""
    rows = [row.split(b",") for row in content.splitlines()]
    for _ in range(dice.randint(1, 3)):
        row = dice.choice(rows[1:])
        row[dice.randrange(len(row))] = dice.choice(CELLS)
    return b"\n".join(b",".join(row) for row in rows)


def damaged_json(content: bytes, dice: random.Random) -> bytes:
    """One to three values changed, keys lost, or keys added, anywhere in the tree."""
    tree = json.loads(content)
    for _ in range(dice.randint(1, 3)):
        branch, keys = tree, _keys(tree)
        while keys and dice.random() < 0.5 and _keys(branch[key := dice.choice(keys)]):
            branch, keys = branch[key], _keys(branch[key])
        if keys and dice.random() < 0.15:
            del branch[dice.choice(keys)]
        elif keys and dice.random() < 0.9:
            branch[dice.choice(keys)] = dice.choice(ODD)
        elif isinstance(branch, dict):
            branch[str(dice.choice(ODD))[:20]] = dice.choice(ODD)
    return json.dumps(tree).encode()


def _keys(branch: Any) -> list[Any]:
    return list(branch) if isinstance(branch, dict) else list(range(len(branch))) if isinstance(branch, list) else []


def read_card(file: Path) -> None:
    shutil.copy(RUN / "history.csv", file.parent)
    histories.main([str(file.parent), "--out", str(file.parent / "out")])


def read_history(file: Path) -> None:
    shutil.copy(RUN / "card.json", file.parent)
    histories.main([str(file.parent), "--out", str(file.parent / "out")])


def read_weights(file: Path) -> None:
    """With a card that says that these are its weights."""
    card = json.loads((RUN / "card.json").read_bytes())
    card["weights_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (file.parent / "card.json").write_text(json.dumps(card), encoding="utf-8")
    load_run(file.parent).model()


def read_card_and_weights(file: Path) -> None:
    shutil.copy(RUN / "weights.safetensors", file.parent)
    for run in find_runs([file.parent]):
        run.model()


def read_trajectory(file: Path) -> None:
    table = read_information(file)
    information_text(table)
    if "epoch" in table:
        labelled = table.assign(reg="l2", gamma=0.1)
        plane_figure(labelled)
        entropies_figure(labelled)


def read_timings(file: Path) -> None:
    save_timing(file, Path("paper/a.parquet"), 1.0)


Reader = Callable[[Path], object]
Damage = Callable[[bytes, random.Random], bytes]
RECIPE = (released_zoo() / "recipes" / "mnist.toml").read_bytes()
AUDIT = b"".join((released_zoo() / "results" / "audit.csv").read_bytes().splitlines(keepends=True)[:20])
TARGETS: dict[str, tuple[str, bytes, Damage, Reader]] = {
    "card": ("card.json", (RUN / "card.json").read_bytes(), damaged_json, read_card),
    "card's bytes": ("card.json", (RUN / "card.json").read_bytes(), damaged, read_card),
    "card and weights": ("card.json", (RUN / "card.json").read_bytes(), damaged_json, read_card_and_weights),
    "weights": ("weights.safetensors", (RUN / "weights.safetensors").read_bytes(), damaged, read_weights),
    "weights' header": (
        "weights.safetensors", (RUN / "weights.safetensors").read_bytes(),
        lambda content, dice: damaged(content[:600], dice) + content[600:], read_weights,
    ),
    "history": ("history.csv", (RUN / "history.csv").read_bytes(), damaged, read_history),
    "history's cells": ("history.csv", (RUN / "history.csv").read_bytes(), damaged_cells, read_history),
    "timings' cells": ("timings.csv", TIMINGS, damaged_cells, read_timings),
    "trajectory's cells": ("information.csv", TRAJECTORY, damaged_cells, read_trajectory),
    "recipe": ("recipe.toml", RECIPE, damaged, recipes_in),
    **{
        f"{kind} of {view}": (f"{view}.parquet", content, damage, read_results)
        for view, content in RESULTS.items()
        for kind, damage in {
            "results": damaged, "card": lambda content, dice: damaged_card(content, dice, damaged_json),
            "rows": damaged_rows,
        }.items()
    },
    "findings": ("audit.csv", AUDIT, damaged, earlier_findings),
    "timings": ("timings.csv", TIMINGS, damaged, read_timings),
    "trajectory": ("information.csv", TRAJECTORY, damaged, read_trajectory),
}  # fmt: skip
"""Name → (file, its content, how it is damaged, what reads it)."""


def ending(target: str, seed: int, place: Path) -> tuple[int, str]:
    """(exit code, what stood on stderr) after reading the file that this seed damages; raises what reading raises."""
    name, content, damage, reader = TARGETS[target]
    folder = Path(tempfile.mkdtemp(dir=place))
    file = folder / name
    file.write_bytes(damage(content, random.Random(f"{target} {seed}")))
    said = io.StringIO()
    with (
        redirect_stderr(said), redirect_stdout(io.StringIO()), patch.object(sys, "argv", ["ibrobust"]),
        patch("ibrobust.figures.style.save_figure", lambda *_: []),
    ):  # fmt: skip
        try:
            command_line.run(lambda _arguments: (reader(file), None)[1])
        except SystemExit as stop:
            shutil.rmtree(folder)
            return int(stop.code or 0), said.getvalue()
    raise AssertionError("run always exits")


def main(count: int) -> None:
    """Try so many files, all targets in turn; print how they ended, and every one that did not end well."""
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        for number in range(count):
            target = list(TARGETS)[number % len(TARGETS)]
            try:
                code, said = ending(target, number, Path(place))
                end = f"exit code {code}" + (", several lines" if said.count("\n") > 1 else "")
            except Exception as error:
                end = "traceback"
                print(f"{target} {number}: {type(error).__name__}: {str(error)[:200]}")
            if end not in ("exit code 0", "exit code 2"):
                print(f"{target} {number}: {end}")
            ends[end] += 1
    print(f"{count} files: " + ", ".join(f"{end} {times}" for end, times in sorted(ends.items())))


if __name__ == "__main__":
    main(int(sys.argv[1]))
