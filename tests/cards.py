"""Cards for results that no evaluation made."""

from dataclasses import replace

from ibrobust.robustness.card import ModelRecord, QueryCount, ResultCard
from ibrobust.robustness.card_records import DataRecord
from ibrobust.robustness.settings import Settings, make_settings
from ibrobust.robustness.storage import AnyResults


def card(*, run: str = "", data: str = "", fingerprint: str | None = None, **settings) -> ResultCard:
    """A card with these settings, of a model and data where they are named."""
    asked = make_settings(settings)
    return ResultCard(
        settings=asked,
        attacks={name: {} for name in asked.attack_names},
        queries={name: QueryCount(forward=1, gradient=0) for name in ("clean", *asked.attack_names)},
        model=ModelRecord(run=run) if run else None,
        data=DataRecord(name=data or "data", fingerprint=fingerprint) if data or fingerprint else None,
    )


def asked_otherwise(result: AnyResults, **changes) -> AnyResults:
    """The same rows as if they answered another question, or were said of something else."""
    settings = {key: value for key, value in changes.items() if key in Settings.model_fields}
    others = {key: value for key, value in changes.items() if key not in settings}
    asked = result.card.settings.model_copy(update=settings)
    return replace(result, card=result.card.model_copy(update={"settings": asked, **others}))
