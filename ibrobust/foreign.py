"""Anybody's model: loaded, and looked at before the first attack."""

from ibrobust.robustness.health import health, require_healthy
from ibrobust.robustness.symptoms import Finding
from ibrobust.subjects.formats import load_model

__all__ = ["Finding", "health", "load_model", "require_healthy"]
