"""Anybody's model: loaded, and looked at before the first attack."""

from ibrobust.models.answers import labels_as_logits
from ibrobust.robustness.health import health, require_healthy
from ibrobust.robustness.symptoms import Finding
from ibrobust.subjects.formats import load_model

__all__ = ["Finding", "health", "labels_as_logits", "load_model", "require_healthy"]
