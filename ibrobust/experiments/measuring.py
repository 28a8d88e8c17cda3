"""From runs to what they keep of their input: a measurement for each split and view, on as many workers as there are.

A measurement is not cut into blocks of samples: its estimates rest on the distances among all of them. It is kept as
soon as it is finished.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from ibrobust.datasets import AnySplit, Split, sorted_samples
from ibrobust.entropies.calibration import EntropyEstimate, Neighbours
from ibrobust.entropies.measurement import Measurement, measured, views_of, with_retrained_decoder
from ibrobust.errors import BadInput
from ibrobust.experiments.blocks import Latest, Stopwatch
from ibrobust.experiments.jobs import HERE, Place, Tell
from ibrobust.experiments.measurable import SPLITS, Measurable
from ibrobust.experiments.pieces import Answer, results_of
from ibrobust.experiments.progress import NOBODY, Account, Told, Watch
from ibrobust.experiments.selection import Selection
from ibrobust.experiments.unfinished import FOLDER, Unfinished
from ibrobust.files import written_whole
from ibrobust.models.bottleneck import Bottleneck
from ibrobust.plugins import digests_of
from ibrobust.subjects.zoo import versions


@dataclass(frozen=True)
class MeasuringSettings:
    """What decides a measurement beside the run.

    Attributes:
        view: of the noise; None for all that a model has, one of them over so many `draws`.
        samples: the first of each split.
        selection: draws as many of each split instead.
        ks, distance, repeats, seed: as `measured` takes them.
        retrain_decoder: whether H[Y|Z] is bounded by a decoder trained on the split, too.
        more: samples after those whose latents tighten the bounds.
    """

    view: str | None
    draws: int
    samples: int
    ks: tuple[int, ...]
    distance: str
    repeats: int
    seed: int
    retrain_decoder: bool
    more: int = 0
    selection: Selection | None = None

    @property
    def neighbours(self) -> Neighbours:
        return Neighbours(norm=self.distance, repeats=self.repeats, seed=self.seed)


@dataclass(frozen=True)
class Part:
    """One measurement of a run."""

    piece: int
    split: str
    view: str
    samples: Split
    others: Split | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.split, self.view

    def __len__(self) -> int:
        return 1


@dataclass(frozen=True)
class MeasuredRun:
    """What became of one run.

    Attributes:
        parts: the measurements by split and view, train before test.
        notes: what is odd about the samples of each split; a split without samples has no parts.
        refused: why the run cannot be measured; it then has no parts.
    """

    run: str
    parts: dict[tuple[str, str], Measurement]
    notes: dict[str, list[str]]
    refused: str | None = None


def measure_runs(
    runs: Sequence[Measurable],
    settings: MeasuringSettings,
    *,
    device: str,
    out: Path,
    place: Place = HERE,
    watch: Watch = NOBODY,
) -> Iterator[tuple[int, MeasuredRun]]:
    """The number of each run and what was measured, as soon as it is there. Finished measurements are kept below
    `out/.unfinished/information` until `forget`.

    Raises:
        RunFailed: after all others are done, with the runs whose workers died.
    """
    pieces = [_Piece(index, run, settings, _unfinished(run, out)) for index, run in enumerate(runs)]
    job = MeasuredParts([run.model for run in runs], settings, device)
    yield from results_of(pieces, job, place, watch=watch, unit="measurements")


def _in_front(split: AnySplit, most: int, selection: Selection | None) -> Split:
    """The first so many samples, or those that are drawn and then others in random order."""
    return split[:most] if selection is None else split[torch.from_numpy(selection.in_front(split.y)[:most])]


def forget(runs: Sequence[Measurable], out: Path) -> None:
    """Remove the finished measurements of runs, whose table is written."""
    for run in runs:
        _unfinished(run, out).remove()


def _unfinished(run: Measurable, out: Path) -> Unfinished:
    return Unfinished(out / FOLDER / "information" / run.name)


@dataclass
class MeasuredParts:
    """A job: a part of a run to its measurement, or to the sentence with which it is refused.

    Attributes:
        models: how each is made, by the number of the run.
    """

    models: list[Callable[[], Bottleneck]]
    settings: MeasuringSettings
    device: str
    _model: Latest[Bottleneck] = field(default_factory=Latest)

    def __call__(self, part: Part, tell: Tell) -> Answer:
        model = self._model.of(part.piece, lambda: self.models[part.piece]().to(self.device))
        tell(Told(0.0, f"{part.split} {part.view}"))
        watch, settings = Stopwatch(), self.settings
        try:
            found = measured(
                model, part.samples, view=part.view, ks=settings.ks, how=settings.neighbours, others=part.others
            )
            if settings.retrain_decoder and part.view == "fresh":
                found = with_retrained_decoder(found, model, part.samples, settings.seed)
        except BadInput as error:
            return watch.answer(str(error))
        return watch.answer(found)


@dataclass
class _Piece:
    """The measurements of one run in the making: a piece of work.

    Attributes:
        waiting: splits and views that nobody works on yet.
    """

    index: int
    run: Measurable
    settings: MeasuringSettings
    unfinished: Unfinished
    waiting: list[tuple[str, str]] = field(default_factory=list)
    views: list[str] = field(default_factory=list)
    found: dict[tuple[str, str], Measurement] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    refused: str | None = None
    _splits: dict[str, Split] = field(default_factory=dict)
    _others: dict[str, Split] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            self.views = [self.settings.view] if self.settings.view else views_of(self.run.model(), self.settings.draws)
        except BadInput as error:
            self.refused = str(error)

    @property
    def total(self) -> int:
        return len(SPLITS) * len(self.views)

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def left(self) -> int:
        return len(self.waiting)

    def begin(self, account: Account) -> bool:
        if not self.unfinished.hold():
            return False
        try:
            whole = self.run.splits()
        except BadInput as error:
            self.refused = self.refused or str(error)
        if self.refused:
            account.there(self.total, 0)
            return True
        count, most = self.settings.samples, self.settings.samples + self.settings.more
        taken = {name: _in_front(split, most, self.settings.selection) for name, split in whole.items()}
        self._splits = {name: split[:count] for name, split in taken.items() if len(split)}
        self._others = {name: split[count:] for name, split in taken.items() if len(split) > count}
        drawn = self.settings.selection is not None
        self.notes = {
            name: [] if drawn else sorted_samples(split, min(count, len(split)), part=name)
            for name, split in whole.items()
        }
        for key in self._keys():
            if (stored := self._stored(key)) is None:
                self.waiting.append(key)
            else:
                self.found[key] = stored
        account.there(self.total - self.left, 0)
        return True

    def next_item(self, _size: int) -> Part | None:
        if not self.waiting:
            return None
        split, view = self.waiting.pop(0)
        others = self._others.get(split) if view == "fresh" else None
        return Part(self.index, split, view, self._splits[split], others)

    def keep(self, item: Part, answer: Answer) -> int:
        if isinstance(answer.result, str):
            self.refused, self.waiting = self.refused or answer.result, []
            return 0
        self.found[item.key] = answer.result
        kept = {"about": self._about(*item.key), "measurement": asdict(answer.result)}
        with written_whole(self._file(item.key)) as unfinished:
            unfinished.write_text(json.dumps(kept), encoding="utf-8")
        return 0

    def finish(self) -> MeasuredRun:
        parts = {} if self.refused else {key: self.found[key] for key in self._keys()}
        self._splits, self._others = {}, {}
        return MeasuredRun(self.name, parts, self.notes, self.refused)

    def release(self) -> None:
        self.unfinished.release()

    def _keys(self) -> list[tuple[str, str]]:
        return [(split, view) for split in self._splits for view in self.views]

    def _file(self, key: tuple[str, str]) -> Path:
        return self.unfinished.folder / f"{'-'.join(key).replace(':', '-')}.json"

    def _about(self, split: str, view: str) -> str:
        """What a measurement depends on."""
        settings = self.settings
        plugins = digests_of([("distance", settings.distance), *self.run.names])
        how = (
            settings.samples,
            settings.ks,
            settings.distance,
            settings.repeats,
            settings.seed,
            settings.retrain_decoder,
            settings.more,
        )
        drawn = str(settings.selection or "")
        about = (*self.run.digests, split, view, how, drawn, plugins, versions())
        return hashlib.sha256(repr(about).encode()).hexdigest()

    def _stored(self, key: tuple[str, str]) -> Measurement | None:
        try:
            kept = json.loads(self._file(key).read_text(encoding="utf-8"))
            if kept["about"] != self._about(*key):
                return None
            made = kept["measurement"]
            rows = [(quantity, EntropyEstimate(**estimate)) for quantity, estimate in made["rows"]]
            return Measurement(rows, made["error"], made["error_bound"], made["warnings"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
