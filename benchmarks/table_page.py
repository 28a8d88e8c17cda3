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
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from ibrobust.commands.stored_results import stored_results
from ibrobust.robustness.claims import claims_table, is_claim
from ibrobust.robustness.radii import parse_radii
from ibrobust.robustness.readings import Readings
from ibrobust.robustness.results import BreakingRadii
from ibrobust.robustness.same_runs import is_strongest

PAGE = Path("docs/table.md")
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
def stored_runs(source: Source) -> dict[tuple[str, int], tuple[Readings, BreakingRadii]]:
    """With the noise on: by label and seed each run's reading, and its strict result of the same samples and more."""
    stored = stored_results([source.folder])
    strict = {each.card.run: each for each in stored if is_claim(each) and isinstance(each, BreakingRadii)}
    found = {}
    for each in stored:
        if isinstance(each, Readings) and is_claim(each, source.view):
            recipe = each.card.model.recipe
            row = pd.Series({**recipe.model_dump(), "noise": each.card.model.noise})
            found[label(row, recipe.epochs), recipe.seed] = (each, strict[each.card.run])
    return found


def noise_off(source: Source, name: str) -> str:
    """What the strict protocol leaves with the noise off, of the samples that were attacked with it on."""
    (radius,) = source.radii
    shares = []
    for (of, _), (reading, strict) in stored_runs(source).items():
        if of == name:
            place = strict.card.settings.radii.index(radius)
            same = np.isin(strict.rows["sample"], reading.sample_N["sample"])
            shares.append(strict.robust_EN[place, same].mean())
    return cell(float(np.mean(shares)), float(np.std(shares, ddof=1)) if len(shares) > 1 else np.nan)


def beside_baseline(source: Source, name: str) -> str:
    """By how much strict-rand leaves more than of the baseline of the same seed: the mean over seeds, with Student's
    95 % interval where there are several."""
    (radius,) = source.radii
    left = {
        key: float(reading.robust_EN[reading.card.settings.radii.index(radius)].mean())
        for key, (reading, _) in stored_runs(source).items()
    }
    more = [
        share - left[BASELINE, seed] for (of, seed), share in left.items() if of == name and (BASELINE, seed) in left
    ]
    if name == BASELINE or not more:
        return ""
    if len(more) == 1:
        return signed(more[0])
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
    name, _, radius = header.lower().partition(", ")
    if name in ("clean", "seeds"):
        return name
    return f"{name}@{float('0' + radius.split('=')[-1].strip()) if radius else min(source.radii):g}"


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
            if column in COMPUTED:
                cells.append(COMPUTED[column](source, name))
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
