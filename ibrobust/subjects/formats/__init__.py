"""Anybody's models: one file for each form in which they are kept and named. The table is `FORMATS`."""

from ibrobust.subjects.formats.interface import FORMATS, Format, format_name
from ibrobust.subjects.formats.loading import Loaded, load_model, loaded
from ibrobust.subjects.formats.options import NOTHING, ModelOptions, model_options

__all__ = [
    "FORMATS", "NOTHING", "Format", "Loaded", "ModelOptions", "format_name", "load_model", "loaded", "model_options",
]  # fmt: skip
