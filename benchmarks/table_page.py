"""The tables of docs/table.md, from the results that are released.

python -m benchmarks.table_page          what would change, cell by cell
python -m benchmarks.table_page --write  and write it

Each table stands below the `ibrobust.claims` command that its numbers come from; its first column and its header say
what is in it. A column of the strongest attacks is added behind the strict ones where some recipe's seeds all have one.
"""

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from ibrobust.commands.stored_results import stored_results
from ibrobust.robustness.claims import claims_table, is_claim
from ibrobust.robustness.radii import parse_radii
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.same_runs import is_strongest
from ibrobust.robustness.storage import Results

PAGE = Path("docs/table.md")
_FEWEST = 3
"""Seeds that an interval takes: two may agree by chance."""
BASELINE = "no regulariser, zero-entropy noise"
_TABLE = re.compile(r"`python -m (ibrobust\.claims [^`]+)`.*?\n\n((?:\|[^\n]*\n)+)", re.DOTALL)


@dataclass(frozen=True)
class Source:
    """What one command of the page reads."""

    folder: Path
    view: str
    radii: tuple[float, ...]

    @classmethod
    def of(cls, command: str) -> "Source":
        words = shlex.split(command)
        flags = dict(zip(words[2::2], words[3::2], strict=True))
        return cls(Path(words[1]), flags.get("--view", "mean"), tuple(parse_radii(flags["--eps"])))


def label(row: "pd.Series[object]", longest: int) -> str:
    """What the page calls a recipe."""
    if row["adversarial"]:
        return f"adversarially trained, ε = {row['adversarial']:g}"
    if row["reg"] == "none":
        noise, epochs = ("no" if row["noise"] == "none" else row["noise"]), row.get("epochs", longest)
        stopped = {longest: "", 1: ", stopped after one epoch"}.get(epochs, f", stopped after {epochs} epochs")
        return f"no regulariser, {noise} noise{stopped}"
    return f"{str(row['reg']).replace('-decay', ' decay')}, γ = {row['gamma']:g}"


@cache
def numbers(source: Source) -> pd.DataFrame:
    """The claims table of a command, by the page's names."""
    stored = stored_results([source.folder])
    strongest = [each for each in stored if isinstance(each, BreakingRadii) and is_strongest(each)]
    results = [each for each in stored if is_claim(each, source.view)]
    table = claims_table(results, source.radii, strongest if source.view == "mean" else ())
    longest = int(table["epochs"].max()) if "epochs" in table else 0
    return table.assign(label=[label(row, longest) for _, row in table.iterrows()]).set_index("label")


@cache
def runs_of(source: Source) -> dict[tuple[str, int], Results]:
    """By label and seed what the table of a view is made of."""
    stored = [each for each in stored_results([source.folder]) if is_claim(each, source.view)]
    recipes = [each.card.model.recipe for each in stored]
    longest = max(recipe.epochs for recipe in recipes)
    names = [
        label(pd.Series({**recipe.model_dump(), "noise": each.card.model.noise}), longest)
        for recipe, each in zip(recipes, stored, strict=True)
    ]
    return {(name, recipe.seed): each for name, recipe, each in zip(names, recipes, stored, strict=True)}


def left(result: Results, radius: float) -> float:
    """What all attacks of a result leave at a radius."""
    return float(result.robust_EN[result.card.settings.radii.index(radius)].mean())


def noise_off(source: Source, name: str, radius: float) -> str:
    """What the strict protocol leaves with the noise off, of the samples that were attacked with it on."""
    strict = {each.card.run: each for each in runs_of(replace(source, view="mean")).values()}
    shares = []
    for (of, _), reading in runs_of(source).items():
        if of == name:
            off = strict[reading.card.run]
            same = np.isin(off.sample_N["sample"], reading.sample_N["sample"])
            shares.append(off.robust_EN[off.card.settings.radii.index(radius), same].mean())
    return cell(float(np.mean(shares)), float(np.std(shares, ddof=1)) if len(shares) > 1 else np.nan)


def beside_baseline(source: Source, name: str, radius: float) -> str:
    """By how much strict attacks, or those of strict-rand with the noise on, leave more than of the baseline of the
    same seed: the mean over seeds, with Student's 95 % interval where there are three or more."""
    kept = {key: left(each, radius) for key, each in runs_of(source).items()}
    more = [
        share - kept[BASELINE, seed] for (of, seed), share in kept.items() if of == name and (BASELINE, seed) in kept
    ]
    if name == BASELINE or not more:
        return ""
    if len(more) < _FEWEST:
        return signed(np.mean(more))
    half = stdtrit(len(more) - 1, 0.975) * np.std(more, ddof=1) / np.sqrt(len(more))
    return f"{signed(np.mean(more))} [{signed(np.mean(more) - half)}, {signed(np.mean(more) + half)}]"


SAID = {"seeds": "seeds", "audit of strict": "verdicts"}
"""Columns of words and counts, and what the claims table calls them."""

COMPUTED = {"strict, noise off": noise_off, "against no regulariser": beside_baseline}
"""Columns that no command prints."""


def cell(mean: float, spread: float) -> str:
    """A number as the page writes it; empty where there is none."""
    if np.isnan(mean):
        return ""
    return short(mean) if np.isnan(spread) else f"{short(mean)} ± {short(spread)}"


def short(share: float) -> str:
    return f"{share:.3f}".removeprefix("0")


def signed(share: float) -> str:
    return f"{'−' if share < 0 else ''}{short(abs(share))}"


def column_of(header: str, source: Source) -> str:
    """The claims table's column of a header: `strict, ε = .008`, `FGSM`, `clean`; one radius where it names none."""
    name = header.lower().partition(", ")[0]
    return name if name in ("clean", "seeds") else f"{name}@{radius_of(header, source):g}"


def radius_of(header: str, source: Source) -> float:
    """The radius that a header names, or the command's smallest."""
    found = re.search(r", (?:ε = )?([.\d]+)$", header)
    return float("0" + found[1]) if found else min(source.radii)


def with_strongest(header: list[str], source: Source) -> list[str]:
    """The header with a column of the strongest attacks behind the strict one of the same radius where there is one."""
    table, whole = numbers(source), []
    for name in header:
        more = name.replace("strict", "strongest")
        column = column_of(more, source) if name.split(",")[0] == "strict" and name not in COMPUTED else ""
        whole += [name, more] if column in table and table[column].notna().any() and more not in header else [name]
    return whole


def rewritten(source: Source, lines: Sequence[str]) -> list[str]:
    """The lines of one table with the cells of the released results."""
    old, *_ = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    header = with_strongest(old, source)
    rows = [line.strip("|").split("|")[0].strip() for line in lines[2:]]
    table = numbers(source)
    if unknown := sorted({*table.index} - {*rows}):
        raise SystemExit(f"{PAGE}: no row for {', '.join(unknown)}")
    new = [header, ["---"] * len(header)]
    for name in rows:
        cells: list[str] = [name]
        for column in header[1:]:
            if computed := COMPUTED.get(column.partition(", ε")[0]):
                cells.append(computed(source, name, radius_of(column, source)))
            elif column in SAID:
                cells.append(str(table.loc[name, SAID[column]]))
            else:
                key = column_of(column, source)
                cells.append(cell(table.loc[name, key], table.loc[name, f"{key}_sd"]))
        new.append(cells)
    return ["|" + "|".join("---" if part == "---" else f" {part} " for part in row) + "|" for row in new]


def page(text: str) -> str:
    """The page with every table rewritten."""

    def replaced(found: re.Match[str]) -> str:
        new = rewritten(Source.of(found[1]), found[2].splitlines())
        return found[0].removesuffix(found[2]) + "\n".join(new) + "\n"

    return _TABLE.sub(replaced, text)


def main(words: Sequence[str]) -> None:
    old = PAGE.read_text(encoding="utf-8")
    new = page(old)
    for before, after in zip(old.splitlines(), new.splitlines(), strict=True):
        if before != after:
            print(f"- {before}\n+ {after}")
    if "--write" in words:
        PAGE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
