"""The table everything is read from: for each attack and each sample, the smallest radius that broke it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ibrobust.errors import BadInput
from ibrobust.files import written_whole

_SAMPLE_COLUMNS = ["sample", "label", "prediction", "zero_gradient"]
ALL_ATTACKS = "all"
_OF_A_SHARD = ["queries", "verdict", "audit"]


@dataclass(frozen=True)
class BreakingRadii:
    """One model under one protocol.

    Attributes:
        rows: a row per sample: `sample` (its id in the data), `label`, `prediction` (clean), `zero_gradient` (whether
            the clean cross-entropy gradient is exactly zero) and a float32 column per attack: 0 where the clean
            prediction is already wrong, `inf` where nothing up to the largest radius broke it.
        card: what was evaluated and how: radii, protocol, settings, seed, model, data, number of queries.
    """

    rows: pd.DataFrame
    card: dict[str, Any]

    @property
    def attacks(self) -> list[str]:
        return [column for column in self.rows.columns if column not in _SAMPLE_COLUMNS]

    @property
    def radii_E(self) -> NDArray[np.float32]:
        return np.asarray(self.card["radii"], dtype=np.float32)

    @property
    def breaking_eps_AN(self) -> NDArray[np.float32]:
        """Attacks × samples."""
        return self.rows[self.attacks].to_numpy(dtype=np.float32).T

    @property
    def all_attacks_N(self) -> NDArray[np.float32]:
        """The smallest radius at which any attack broke each sample."""
        smallest: NDArray[np.float32] = self.breaking_eps_AN.min(axis=0)
        return smallest

    @property
    def clean(self) -> float:
        """Accuracy without an attack."""
        return float((self.all_attacks_N > 0).mean())

    @property
    def robust_avg(self) -> float:
        """Mean over the radii of the all-attack robust accuracy (Kirsch et al. figure G.14)."""
        return float(robust_share(self.all_attacks_N, self.radii_E).mean())

    def curves(self) -> pd.DataFrame:
        """Long form: attack (`all` counts a sample only if it survives every one), eps, robust accuracy."""
        breaking = {ALL_ATTACKS: self.all_attacks_N, **dict(zip(self.attacks, self.breaking_eps_AN, strict=True))}
        return pd.DataFrame(
            [
                {"attack": attack, "eps": eps, "robust": share}
                for attack, breaking_eps_N in breaking.items()
                for eps, share in zip(self.card["radii"], robust_share(breaking_eps_N, self.radii_E), strict=True)
            ]
        )

    def __str__(self) -> str:
        table = self.curves().pivot(index="eps", columns="attack", values="robust")
        order = [*self.attacks, ALL_ATTACKS]
        return f"{table[order].to_string(float_format='{:.3f}'.format)}\nclean {self.clean:.3f}, n {len(self.rows)}"


def robust_share(breaking_eps_N: NDArray[np.float32], radii_E: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of samples that survive each radius; a sample broken at exactly ε is not robust at ε."""
    shares: NDArray[np.float64] = (breaking_eps_N[None, :] > radii_E[:, None]).mean(axis=1)
    return shares


def save_results(results: BreakingRadii, path: Path) -> None:
    """One Parquet file, the card in its metadata; a reader never sees half of it."""
    table = pa.Table.from_pandas(results.rows, preserve_index=False)
    card = json.dumps(results.card, sort_keys=True).encode()
    with written_whole(path) as unfinished:
        pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), b"ibrobust": card}), unfinished)


def load_results(path: Path) -> BreakingRadii:
    """Raises:
    BadInput: the file is not a whole results file.
    """
    try:
        table = pq.read_table(path)
        return BreakingRadii(table.to_pandas(), json.loads(table.schema.metadata[b"ibrobust"]))
    except (OSError, pa.ArrowException, KeyError, TypeError, json.JSONDecodeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{path} is not a whole results file: {reason}") from error


def joined(shards: Sequence[BreakingRadii]) -> BreakingRadii:
    """Shards of one evaluation, of disjoint samples, as one table sorted by sample; queries add up, and a verdict on
    one shard is none on the whole.

    Raises:
        BadInput: the shards differ in more than their samples, or overlap.
    """
    settings = [{key: value for key, value in shard.card.items() if key not in _OF_A_SHARD} for shard in shards]
    if any(other != settings[0] for other in settings[1:]):
        raise BadInput("these results are not shards of one evaluation: their settings differ")
    rows = pd.concat([shard.rows for shard in shards]).sort_values("sample", ignore_index=True)
    if rows["sample"].duplicated().any():
        raise BadInput("these results are not shards of one evaluation: some samples are in more than one")
    queries = {
        attack: {kind: sum(shard.card["queries"][attack][kind] for shard in shards) for kind in ("forward", "gradient")}
        for attack in shards[0].card["queries"]
    }
    return BreakingRadii(rows, {**(settings[0] if len(shards) > 1 else shards[0].card), "queries": queries})
