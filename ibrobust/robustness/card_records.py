"""What a card says of where model and samples come from: flat records, each field as a results file holds it."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class Record(BaseModel):
    """What a card consists of: frozen, and strict about types and keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), strict=True)


class SourceRecord(Record):
    """How a model that is not of a recipe was made: the form that it is kept in, and what is said about it beside.

    Attributes:
        arguments: what the function that makes it was called with.
        mean, std: the normalisation that stands in front of it, per channel.
        outputs: its output for each label of the data.
    """

    format: str
    arguments: dict[str, Any] | None = None
    mean: list[Number] | None = None
    std: list[Number] | None = None
    outputs: list[Count] | None = None


class DataRecord(Record):
    """Which data the samples are from; of folders also the names of the classes by label, the order of the samples,
    which folder is the test part, and how the images were brought to one size; and how samples were drawn from it."""

    name: str
    fingerprint: str | None = None
    classes: list[str] | None = None
    order: str | None = None
    test_part: str | None = None
    transform: str | None = None
    sample: str | None = None


class TransferRecord(Record):
    """The other model that images were made on: its name and, where they are known, its digests."""

    run: str
    weights_sha256: str | None = None
    code_sha256: str | None = None


class CorruptionRecord(Record):
    """The corruptions, and what made them: libraries with their versions, or files."""

    names: list[str]
    made: str
