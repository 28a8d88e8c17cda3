"""What is said about data beside the text that names it: how arrays lie, and what size images are brought to."""

from dataclasses import dataclass, fields

from ibrobust.datasets.layouts import AUTO, require_layout
from ibrobust.datasets.shaping import Shaping, shaping_of
from ibrobust.recipe import Recipe


@dataclass(frozen=True)
class DataOptions:
    """Everything that decides which samples a text stands for, beside the text.

    Attributes:
        layout: of arrays of images: `nchw`, `nhwc`, or `auto` where their shape tells.
        resize, crop: what size encoded images are brought to, as `shaping_of` takes them.
        label_column: the column of labels, of tables that have several.

    Raises:
        BadInput: one of them cannot be used.
    """

    layout: str = AUTO
    resize: str | int | None = None
    crop: str | int | None = None
    label_column: str | None = None

    def __post_init__(self) -> None:
        require_layout(self.layout)
        assert self.shaping is not None, "looked at before anything is read"

    @property
    def shaping(self) -> Shaping:
        """What is done to each image."""
        return shaping_of(self.resize, self.crop)

    @property
    def given(self) -> dict[str, str | int]:
        """The options that say something."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) != field.default}


def options_of(recipe: Recipe) -> DataOptions:
    """What a recipe says about its data.

    Raises:
        BadInput: it cannot be used.
    """
    return DataOptions(recipe.layout, recipe.resize or None, recipe.crop or None, recipe.label_column or None)


PLAIN = DataOptions()
"""The data as its name says."""
