"""Whether audits are right: claims about models whose adaptive robustness is known, and what the audit says of them.

python -m benchmarks.audits --read [FILE.csv] [--claims strict …] [--quarter]    rows measured before, ours by default
python -m benchmarks.audits [--only NAME …] [--claims strict …] [--samples 80] [--quarter] [--rows FILE.csv]

A claim is too high where an attack that knows the construction leaves .05 less than it says. It is a false alarm where
a claim that is not too high is not `trusted`, and a miss where one that is too high is. Each model is trained on digits
in seconds. `--quarter` gives strict attacks, the claim's and the audit's, a quarter of their steps. `--rows` keeps each
row as soon as it is there, and does not measure one again that the file holds.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from benchmarks.audited.adaptive import adaptive_robustness
from benchmarks.audited.defence import Defence, Trained
from benchmarks.audited.kinds import KINDS
from ibrobust import breaking_radii, noisy_readings
from ibrobust.attacks import ATTACKS
from ibrobust.experiments.auditing import Audit, audit
from ibrobust.robustness.storage import Results
from ibrobust.tables import save_table

RELEASED = Path(__file__).parent / "audited" / "audits.csv"
EPS = 0.1
TOO_HIGH = 0.05
_PASSES = "passes a sample"
_SHORT = {
    "apgd-ce": {"steps": 25},
    "apgd-dlr": {"steps": 25},
    "apgd-t": {"steps": 25, "targets": 4},
    "fab-t": {"steps": 8, "targets": 4},
    "square": {"queries": 1200},
}


@contextmanager
def shortened() -> Iterator[None]:
    """Strict attacks with a quarter of their steps inside the block."""
    usual = {name: ATTACKS[name] for name in _SHORT}
    entries = ATTACKS._entries
    try:
        entries.update({name: replace(one, settings={**one.settings, **_SHORT[name]}) for name, one in usual.items()})
        yield
    finally:
        entries.update(usual)


@contextmanager
def counted(model: nn.Module) -> Iterator[list[int]]:
    """How many images go through the model inside the block."""
    count = [0]

    def count_rows(_module: nn.Module, given: tuple[Any, ...], _answer: Any) -> None:
        count[0] += len(given[0])

    hook = model.register_forward_hook(count_rows)
    try:
        yield count
    finally:
        hook.remove()


def claim_of(defence: Defence, x: torch.Tensor, y: torch.Tensor, protocol: str) -> Results:
    """The results that are audited; under noise by the protocol's twin."""
    if defence.view == "mean":
        return breaking_radii(defence.model, x, y, eps=[EPS], protocol=protocol, columns="standing", health="ignore")
    with_noise = "strict-rand" if protocol == "strict" else protocol
    return noisy_readings(defence.model, x, y, eps=[EPS], protocol=with_noise, noise=defence.view, health="ignore")


def rows_of(
    name: str, trained: Trained, samples: int, protocols: Sequence[str], steps: str = "all"
) -> Iterator[dict[str, Any]]:
    """A row for the claim by each of the protocols; `steps` is what it says of the attacks' steps."""
    x, y = trained.test(samples)
    defence = KINDS[name](trained)
    claims = {protocol: claim_of(defence, x, y, protocol) for protocol in protocols}
    adaptive = float(adaptive_robustness(defence, x, y, EPS).mean())
    audits: dict[str, tuple[Audit, int, float]] = {}
    for protocol, claim in claims.items():
        started = time.process_time()
        with counted(defence.model) as passes:
            found = audit(defence.model, x, y, claim, health="ignore")
        audits[protocol] = found, passes[0], time.process_time() - started
    said = {protocol: float(claim.robust_EN[-1].mean()) for protocol, claim in claims.items()}
    # Without noise whatever broke a sample broke it; the truth is below all of it.
    proven = [said[protocol] - one.evidence.share for protocol, (one, *_) in audits.items()]
    truth = adaptive if defence.noisy else min(adaptive, *proven)
    for protocol, (found, passes_, seconds) in audits.items():
        yield {
            "model": name, "claim by": protocol, "steps": steps, "samples": samples, "clean": claims[protocol].clean,
            "claim": said[protocol], "truth": truth,
            "evidence": str(found.evidence), "verdict": found.verdict,
            "notes": ", ".join(one.name for one in found.findings if one.kind == "note" and not one.passed),
            "outcome": outcome(said[protocol], truth, found.verdict),
            _PASSES: round(passes_ / samples), "seconds": round(seconds, 1),
        }  # fmt: skip


def outcome(claim: float, truth: float, verdict: str) -> str:
    """Whether the verdict is right about a claim whose truth is known."""
    too_high = round(claim - truth, 9) > TOO_HIGH
    if too_high:
        return "missed" if verdict == "trusted" else "found"
    return "right" if verdict == "trusted" else "false alarm"


def printed(rows: pd.DataFrame) -> str:
    """The table in Markdown, and below it how often the audit was right."""
    shown = rows[["model", "claim by", "steps", "claim", "truth", "evidence", "verdict", "notes", "outcome", _PASSES]]
    shown = shown.assign(**{name: rows[name].map("{:.2f}".format) for name in ("claim", "truth")})
    lines = ["| " + " | ".join(shown) + " |", "|---" * len(shown.columns) + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in shown.fillna("").to_numpy()]
    return "\n".join([*lines, "", counted_outcomes(rows)])


def counted_outcomes(rows: pd.DataFrame) -> str:
    """How many claims of how many models, and how often the audit was right about them."""
    counts = rows["outcome"].value_counts()
    told = ", ".join(f"{counts.get(word, 0)} {word}" for word in ("right", "found", "false alarm", "missed"))
    return f"{rows['model'].nunique()} models, {len(rows)} claims: {told}"


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    steps = "a quarter" if options.quarter else "all"
    if options.read is not None:
        rows = pd.read_csv(options.read, keep_default_na=False)
        chosen = rows["claim by"].isin(options.claims) & rows["model"].isin(options.only) & (rows["steps"] == steps)
        print(printed(rows[chosen]))
        return
    trained = Trained()
    rows = (
        pd.read_csv(options.rows, keep_default_na=False) if options.rows and options.rows.is_file() else pd.DataFrame()
    )
    for name in options.only:
        missing = [one for one in options.claims if not len(rows) or not _holds(rows, name, one, steps)]
        if not missing:
            continue
        with shortened() if options.quarter else nullcontext():
            new = pd.DataFrame([*rows_of(name, trained, options.samples, missing, steps)])
        rows = pd.concat([rows, new], ignore_index=True)
        print(new.to_string(index=False, header=False), flush=True)
        if options.rows:
            save_table(rows, options.rows)
    print(printed(rows))


def _holds(rows: pd.DataFrame, name: str, protocol: str, steps: str) -> bool:
    return bool(((rows["model"] == name) & (rows["claim by"] == protocol) & (rows["steps"] == steps)).any())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--only", nargs="+", choices=KINDS, default=list(KINDS), metavar="NAME", help="these models alone"
    )
    parser.add_argument(
        "--claims", nargs="+", choices=["paper", "strict"], default=["strict"], help="whose attacks claim"
    )
    parser.add_argument("--samples", type=int, default=80, help="test digits, the last ones")
    parser.add_argument("--quarter", action="store_true", help="strict attacks with a quarter of their steps")
    parser.add_argument("--rows", type=Path, default=None, help="a CSV file that keeps the rows")
    parser.add_argument(
        "--read", type=Path, nargs="?", const=RELEASED, default=None, metavar="FILE.csv", help="measure nothing"
    )
    return parser


if __name__ == "__main__":
    main()
