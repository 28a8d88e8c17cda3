"""`submission.json`, the first file of a submission: whose model, under which licence, what is claimed, which files."""

import json
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from ibrobust.errors import BadInput, shortened
from ibrobust.files import checked_name
from ibrobust.robustness.card_records import Count, Record

MANIFEST = "submission.json"
FORMAT: Literal[1] = 1
MOST_BYTES = 2**20
"""A manifest is a few kilobytes; what is larger is none."""

_LICENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+() -]{0,99}")
_REFERENCE = re.compile(r"(https?://|doi:)[!-~]{3,300}")


def licence_text(text: str) -> str:
    """The text itself, if it can be an SPDX identifier or expression, as `MIT` or `Apache-2.0 OR MIT`.

    Raises:
        BadInput: it cannot.
    """
    if not _LICENCE.fullmatch(text):
        raise BadInput(f"licence {shortened(repr(text))}: give an SPDX identifier, as MIT, Apache-2.0 or CC-BY-4.0")
    return text


def reference_text(text: str) -> str:
    """The text itself, if it is an address where the model can be found.

    Raises:
        BadInput: it is none.
    """
    if not _REFERENCE.fullmatch(text):
        raise BadInput(f"reference {shortened(repr(text))}: give an address that begins with https:// or doi:")
    return text


def contact_text(text: str) -> str:
    """The text itself, if it is one short line.

    Raises:
        BadInput: it is not.
    """
    if not (text.strip() and len(text) <= 200 and text.isprintable()):
        raise BadInput(f"contact {shortened(repr(text))}: give one line of at most 200 characters")
    return text


def _named(text: str) -> str:
    return checked_name(text, "run")


class FileRecord(Record):
    """The size and the SHA-256 of one file."""

    bytes: Count
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class ClaimRecord(Record):
    """What one results file claims, in numbers that its rows have to give again.

    Attributes:
        clean: how many samples are right without an attack; None where there are no clean images.
        standing: how many samples survive all attacks at each radius; under corruptions, the right answers at each
            severity.
        verdict: the audit's; `unaudited` where the findings beside the results support none.
        images: how many adversarial images prove the results.
    """

    file: str
    data: str
    protocol: str
    norm: str
    samples: Count
    clean: Count | None
    standing: list[Count]
    verdict: str
    images: Count


class Manifest(Record):
    """The manifest of a submission.

    Attributes:
        format: the version of this format.
        licence: SPDX identifier of the model's licence; reference: where the model can be found; contact: whom to ask.
            None where nobody said.
        version: of the ibrobust that made the file.
        files: by their names in the submission.
    """

    format: Literal[1]
    run: Annotated[str, AfterValidator(_named)]
    licence: Annotated[str, AfterValidator(licence_text)] | None
    reference: Annotated[str, AfterValidator(reference_text)] | None
    contact: Annotated[str, AfterValidator(contact_text)] | None
    version: str
    claims: list[ClaimRecord]
    files: dict[str, FileRecord]


def manifest_bytes(manifest: Manifest) -> bytes:
    """JSON in ASCII with sorted keys: the same manifest gives the same bytes."""
    return (json.dumps(manifest.model_dump(), sort_keys=True, indent=1) + "\n").encode("ascii")


def manifest_of(content: bytes) -> Manifest:
    """Raises:
    BadInput: the bytes are not those of a manifest; names the field.
    """
    try:
        values = json.loads(content, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{MANIFEST}: it is no JSON: {shortened(str(error))}") from None
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    reason = first.get("ctx", {}).get("error", first["msg"])
    raise BadInput(f"{MANIFEST}: {shortened(place)}: {reason}" if place else f"{MANIFEST}: {reason}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are there once: of two, readers would see different ones."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found
