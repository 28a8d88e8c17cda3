"""The other model that images are made on: a run on disk, or anybody's, as `--transfer-from` names it."""

from dataclasses import replace
from pathlib import Path

from ibrobust.errors import BadInput
from ibrobust.experiments.subject import Address, Source, Subject, TheirModel
from ibrobust.robustness.card_records import TransferRecord
from ibrobust.subjects.formats import NOTHING
from ibrobust.subjects.zoo import CARD, find_runs


def with_source(subject: Subject, text: str | None) -> Subject:
    """The subject, attacked with the images of another model.

    Args:
        text: a run's folder, or a model as `--model` takes one; None changes nothing.

    Raises:
        BadInput: it cannot be loaded, or does not take the subject's images.
    """
    if text is None:
        return subject
    try:
        return replace(subject, source=_run(Path(text)) if (Path(text) / CARD).is_file() else _theirs(subject, text))
    except BadInput as error:
        raise BadInput(f"transfer_from: {error}") from error


def _run(folder: Path) -> Source:
    (run,) = find_runs([folder])
    return Source(run.model, TransferRecord(run=run.card.run, weights_sha256=run.card.weights_sha256))


def _theirs(subject: Subject, text: str) -> Source:
    channels, height, width = subject.test[:1].x.shape[1:]
    classes = tuple(subject.data_record.classes or ())
    address = Address(text, NOTHING, (channels, height, width), classes)
    found = address.loaded()
    made = TheirModel(address, found.digests["weights_sha256"], found.module)
    return Source(made, TransferRecord(run=found.name, **found.digests))
