"""From stored results to radii within which nothing can change a prediction, block by block."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import nn

from ibrobust.certificates.certificate import certified_in_turn, piecewise_linear_network
from ibrobust.certificates.effort import Effort
from ibrobust.errors import BadInput
from ibrobust.experiments.blocks import Block, Latest, Stopwatch, Teller
from ibrobust.experiments.jobs import HERE, Place, Tell
from ibrobust.experiments.pieces import Answer, results_of
from ibrobust.experiments.progress import NOBODY, Account, Told, Watch
from ibrobust.experiments.subject import Subject
from ibrobust.experiments.unfinished import FOLDER, Gaps, Unfinished
from ibrobust.files import written_whole
from ibrobust.robustness.certified import CERTIFIED_SAMPLES, model_digest
from ibrobust.robustness.results import BreakingRadii
from ibrobust.subjects.zoo import versions
from ibrobust.tables import save_table

Row = dict[str, str | int | float]


def require_certifiable(subject: Subject) -> None:
    """Raises:
    BadInput: no certificate for the subject's model, whatever the samples.
    """
    try:
        piecewise_linear_network(subject.model(), subject.test.x.shape[1:], torch.device("cpu"))
    except BadInput as error:
        raise BadInput(f"{subject.name}: {error}") from error


def certify_subjects(
    claims: Sequence[tuple[Subject, BreakingRadii]],
    path: Path,
    *,
    device: str,
    effort: Effort | None = None,
    place: Place = HERE,
    watch: Watch = NOBODY,
) -> pd.DataFrame:
    """A row for each claim, written to the file of a table, too. Finished blocks are kept beside it until then.

    Beside it, `certified_samples.csv` holds the certified radius of each sample, which leaderboards read.

    A row holds certified and attacked radii on average, both cut at the largest radius, and the share of the way in
    between that is closed; at half of the largest radius, the share of samples that is certain and the share not
    broken. `refuted` counts samples that an attack broke within their certified radius: a bug if it is not 0.

    Args:
        claims: a model, and the results of its samples.
        effort: what a sample is worth beyond plain linear bounds, below the radius at which it was broken; both tables
            say what it was.

    Raises:
        BadInput: no certificate for a model.
    """
    pieces = [_Certification(index, *claim, path, effort) for index, claim in enumerate(claims)]
    tasks = [(subject.model, claim.card.settings.radii, claim.all_attacks_N) for subject, claim in claims]
    job = CertifiedBlocks(tasks, device, effort)
    rows = dict(results_of(pieces, job, place, watch=watch))
    table = pd.DataFrame([rows[index] for index in sorted(rows)])
    save_table(pd.concat([piece.samples() for piece in pieces], ignore_index=True), path.with_name(CERTIFIED_SAMPLES))
    save_table(table, path)
    for piece in pieces:
        piece.unfinished.remove()
    return table


@dataclass
class CertifiedBlocks:
    """A job: a block to the certified radii of its samples.

    Attributes:
        tasks: how the model is made, the radii, and where each sample was broken, by the number of the piece.
    """

    tasks: list[tuple[Callable[[], nn.Module], list[float], NDArray[np.float32]]]
    device: str
    effort: Effort | None = None
    _model: Latest[nn.Module] = field(default_factory=Latest)

    def __call__(self, block: Block, tell: Tell) -> Answer:
        make, radii, attacked_N = self.tasks[block.piece]
        model, say = self._model.of(block.piece, lambda: make().to(self.device)), Teller(tell)
        watch, certified = Stopwatch(), [np.zeros(0, np.float32)]
        attacked = attacked_N[block.rows.start : block.rows.stop]
        x, y = block.split.x.to(self.device), block.split.y.to(self.device)
        for some in certified_in_turn(model, x, y, radii, effort=self.effort, attacked=attacked):
            certified.append(some)
            say(Told(sum(map(len, certified)) / len(block), "bounds"))
        return watch.answer(np.concatenate(certified))


@dataclass
class _Certification:
    """One row of the table in the making: a piece of work, whose samples are those of the claim, in its order."""

    index: int
    subject: Subject
    claim: BreakingRadii
    table: Path
    effort: Effort | None = None
    gaps: Gaps = field(default_factory=lambda: Gaps([]))
    blocks: dict[range, NDArray[np.float32]] = field(default_factory=dict)
    unfinished: Unfinished = field(init=False)

    def __post_init__(self) -> None:
        claim = f"{self.claim.card.settings.label}-{self.claim.card.settings.file_stem(self.subject.name)}"
        self.unfinished = Unfinished(self.table.parent / FOLDER / self.table.stem / claim)

    @property
    def name(self) -> str:
        return self.subject.name

    @property
    def total(self) -> int:
        return len(self.claim.rows)

    @property
    def left(self) -> int:
        return self.gaps.left

    def begin(self, account: Account) -> bool:
        if not self.unfinished.hold():
            return False
        self.blocks = dict(self.unfinished.blocks(range(self.total), self._stored))
        self.gaps = Gaps.between(range(self.total), list(self.blocks))
        account.there(self.total - self.gaps.left, 0)
        return True

    def next_item(self, size: int) -> Block | None:
        rows = self.gaps.take(size)
        if rows is None:
            return None
        samples = self.claim.rows["sample"].to_numpy()[rows.start : rows.stop]
        return Block(self.index, rows, self.subject.test[torch.tensor(samples)])

    def keep(self, item: Block, answer: Answer) -> int:
        self.blocks[item.rows] = answer.result
        table = pa.table({"certified": answer.result}).replace_schema_metadata({b"about": self._about.encode()})
        with written_whole(self.unfinished.path(item.rows)) as unfinished:
            pq.write_table(table, unfinished)
        return 0

    def finish(self) -> Row:
        return _row(self.subject.name, self.claim, self._certified_N) | self._effort

    def samples(self) -> pd.DataFrame:
        """The certified radius of each sample."""
        about = {"run": self.subject.name, "model": model_digest(self.claim.card)}
        certified = [np.format_float_positional(radius, trim="0") for radius in self._certified_N]  # Every digit.
        table = pd.DataFrame({"sample": self.claim.rows["sample"], "certified": certified})
        return table.assign(**about, **self._effort)[["run", "model", "sample", "certified", *self._effort]]

    @property
    def _effort(self) -> dict[str, int | float]:
        return self.effort.told if self.effort else {}

    @property
    def _certified_N(self) -> NDArray[np.float32]:
        return np.concatenate([self.blocks[rows] for rows in sorted(self.blocks, key=lambda rows: rows.start)])

    def release(self) -> None:
        self.unfinished.release()

    @property
    def _about(self) -> str:
        """What certified radii depend on."""
        model, data = self.subject.model_record, self.subject.data_record.fingerprint
        samples = self.claim.rows[["sample", "label"]].to_numpy().tobytes()
        radii = self.claim.card.settings.radii
        about: tuple[object, ...] = (
            model.weights_sha256, model.code_sha256, data, radii, hashlib.sha256(samples).hexdigest(), versions()
        )  # fmt: skip
        if self.effort:
            attacked = hashlib.sha256(self.claim.all_attacks_N.tobytes()).hexdigest()
            about = (*about, sorted(self._effort.items()), attacked)
        return repr(about)

    def _stored(self, path: Path, rows: range) -> NDArray[np.float32] | None:
        try:
            table = pq.read_table(path)
            about, certified = (table.schema.metadata or {}).get(b"about", b""), table["certified"].to_numpy()
        except (OSError, pa.ArrowException, KeyError):
            return None
        return certified if about.decode(errors="replace") == self._about and len(certified) == len(rows) else None


def _row(name: str, claim: BreakingRadii, certified_N: NDArray[np.float32]) -> Row:
    radii_E, attacked_N = claim.radii_E, claim.all_attacks_N
    half = radii_E[np.abs(radii_E - radii_E[-1] / 2).argmin()]
    upper_N = np.minimum(attacked_N, radii_E[-1])
    return {
        "run": name,
        "protocol": claim.card.settings.label,
        "n": len(claim.rows),
        "certified": float(certified_N.mean()),
        "attacked": float(upper_N.mean()),
        "closed": float(certified_N.sum() / upper_N.sum()) if upper_N.any() else 1.0,
        "eps": float(half),
        "certified@eps": float((certified_N >= half).mean()),
        "robust@eps": float((attacked_N > half).mean()),
        "refuted": int(((attacked_N <= certified_N) & (attacked_N > 0)).sum()),
    }
