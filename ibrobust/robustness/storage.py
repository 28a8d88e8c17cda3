"""Results on disk: one Parquet file each, its card in the metadata, shards of one evaluation joined again."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ibrobust.errors import BadInput, shortened
from ibrobust.files import as_name, written_whole
from ibrobust.robustness.card import QueryCount, ResultCard, card_of, card_text
from ibrobust.robustness.checked_rows import check_rows
from ibrobust.robustness.corruption_results import CorruptionResults
from ibrobust.robustness.readings import Readings
from ibrobust.robustness.results import NAN_GRADIENT, BreakingRadii

Results = BreakingRadii | Readings
"""What attacks leave behind: of a model without noise, or with it."""
AnyStored = Results | CorruptionResults
"""What an evaluation leaves behind."""

AnyResults = TypeVar("AnyResults", bound=AnyStored)

_OF_A_SHARD = {"queries", "verdict", "audit", "warnings"}


def save_results(results: AnyStored, path: Path) -> None:
    """One Parquet file, the card in its metadata; a reader never sees half of it."""
    table = pa.Table.from_pandas(results.rows, preserve_index=False)
    card = card_text(results.card).encode()
    with written_whole(path) as unfinished:
        pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), b"ibrobust": card}), unfinished)


def load_results(path: Path) -> Results:
    """Raises:
    BadInput: the file is not a whole file of attacks' results.
    """
    results = load_stored(path)
    if isinstance(results, CorruptionResults):
        raise BadInput(f"{path}: it holds accuracy under corruptions, and no attack's results")
    return results


def load_corruptions(path: Path) -> CorruptionResults:
    """Raises:
    BadInput: the file is not a whole file of results under corruptions.
    """
    results = load_stored(path)
    if not isinstance(results, CorruptionResults):
        raise BadInput(f"{path}: it holds attacks' results, and no accuracy under corruptions")
    return results


def load_stored(path: Path) -> AnyStored:
    """Raises:
    BadInput: the file is not a whole results file.
    """
    if path.is_dir():
        raise BadInput(f"{path} is a folder, not a results file")
    if not path.exists():
        raise BadInput(f"{path}: there is no such file")
    try:
        # What damaged bytes make of the reader is any kind of error.
        table = pq.ParquetFile(path).read()
        text, rows = (table.schema.metadata or {}).get(b"ibrobust"), table.to_pandas(ignore_metadata=True)
    except Exception as error:
        reason = shortened(str(error).splitlines()[0]) if str(error) else type(error).__name__
        raise BadInput(f"{path} is not a whole results file: {reason}") from error
    if b"shape" in (table.schema.metadata or {}):
        raise BadInput(f"{path} holds adversarial images; the results are {path.parent.parent / path.name}")
    try:
        if text is None:
            raise BadInput("it has no card")
        card = card_of(text)
        check_rows(rows, card)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    if card.corruptions:
        return CorruptionResults(rows, card)
    return (BreakingRadii if card.settings.view == "mean" else Readings)(rows, card)


def is_of_corruptions(path: Path) -> bool:
    """Whether a file says that it holds accuracy under corruptions; a file that is damaged says nothing."""
    try:
        text = (pq.read_schema(path).metadata or {}).get(b"ibrobust", b"")
        content = json.loads(text)
    except Exception:
        return False
    return isinstance(content, dict) and "corruptions" in content


def card_in(path: Path) -> ResultCard:
    """The card of a results file alone.

    Raises:
        BadInput: as `load_results`, but for what only the rows show.
    """
    try:
        text = (pq.read_schema(path).metadata or {}).get(b"ibrobust", b"")
    except Exception as error:
        raise BadInput(f"{path} is not a whole results file: {shortened(str(error).splitlines()[0])}") from error
    try:
        return card_of(text)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error


def first_samples(results: AnyResults, count: int) -> AnyResults:
    """The results of the first so many samples."""
    first = results.sample_N["sample"][:count]
    return replace(results, rows=results.rows[results.rows["sample"].isin(first)])


def these_samples(results: AnyResults, numbers: NDArray[np.int64]) -> AnyResults:
    """The results of the samples with these numbers.

    Raises:
        BadInput: they do not hold all of them.
    """
    lacking = np.setdiff1d(numbers, results.sample_N["sample"])
    if len(lacking):
        raise BadInput(f"its results lack {len(lacking)} of {len(numbers)} samples, such as {lacking[0]}")
    return replace(results, rows=results.rows[results.rows["sample"].isin(numbers)])


def joined(shards: Sequence[AnyResults]) -> AnyResults:
    """Shards of one evaluation, of disjoint samples, as one table sorted by sample; queries add up, and a verdict on
    one shard is none on the whole.

    Raises:
        BadInput: the shards differ in more than their samples, or overlap.
    """
    if apart := sorted(set().union(*(_differences(shards[0].card, shard.card) for shard in shards))):
        raise BadInput(f"not shards of one evaluation: they differ in {', '.join(apart)}")
    if pd.concat([shard.sample_N["sample"] for shard in shards]).duplicated().any():
        raise BadInput("not shards of one evaluation: some samples are in more than one")
    rows = pd.concat([shard.rows for shard in shards]).sort_values("sample", kind="stable", ignore_index=True)
    if NAN_GRADIENT in rows:  # Files of earlier versions do not have it.
        rows[NAN_GRADIENT] = rows[NAN_GRADIENT].eq(True)
    if len(shards) == 1:
        return type(shards[0])(rows, shards[0].card)
    each = [shard.card.queries for shard in shards]
    queries = {
        name: QueryCount(
            forward=sum(one[name].forward for one in each if name in one),
            gradient=sum(one[name].gradient for one in each if name in one),
        )
        for name in dict.fromkeys(name for one in each for name in one)
    }
    card = shards[0].card.model_copy(update={"queries": queries, "verdict": None, "audit": None})
    told = [text for shard in shards for text in shard.card.warnings or []]
    return type(shards[0])(rows, card.with_warnings(told))


def versions_apart(shards: Sequence[AnyResults]) -> list[list[AnyResults]]:
    """The shards of each model and data; where several share a name, a digest of theirs stands behind it."""
    apart: dict[tuple[str | None, ...], list[AnyResults]] = {}
    for shard in shards:
        model, data = shard.card.model, shard.card.data
        digests = (model.weights_sha256, model.code_sha256) if model else (None, None)
        apart.setdefault((*digests, data.fingerprint if data else None), []).append(shard)
    if len(apart) == 1:
        return list(apart.values())
    return [[_of_version(shard, identity) for shard in version] for identity, version in apart.items()]


def _of_version(results: AnyResults, identity: tuple[str | None, ...]) -> AnyResults:
    digest = hashlib.sha256(repr(identity).encode()).hexdigest()[:8]
    model = results.card.model
    assert model is not None, "the card of a file names its model"
    named = model.model_copy(update={"run": as_name(f"{model.run}-{digest}")})
    return replace(results, card=results.card.model_copy(update={"model": named}))


def _differences(a: ResultCard, b: ResultCard) -> set[str]:
    """The names of the settings and other fields in which two cards differ, but for those of a shard."""
    fields = {key for key, value in a if key not in _OF_A_SHARD | {"settings"} and value != getattr(b, key)}
    return fields | {key for key, value in a.settings if value != getattr(b.settings, key)}
