"""Where the channels of an image array are: before its height and width, or after them."""

import numpy as np
from numpy.typing import NDArray

from ibrobust.errors import BadInput

AUTO = "auto"
LAYOUTS = (AUTO, "nchw", "nhwc")
_CHANNELS = (1, 2, 3, 4)


def channels_first(x: NDArray[np.generic], layout: str, name: str) -> NDArray[np.generic]:
    """A view of the array as (N, C, H, W).

    Args:
        x: four axes.
        layout: `nchw`, `nhwc`, or `auto` where the shape alone tells which of the two it is.
        name: what the array is called in messages.

    Raises:
        BadInput: the layout is `auto`, and the shape can be read both ways.
    """
    known = layout_of(x.shape, name) if layout == AUTO else layout
    return x.transpose(0, 3, 1, 2) if known == "nhwc" else x


def require_layout(layout: str) -> None:
    """Raises:
    BadInput: there is no such layout.
    """
    if layout not in LAYOUTS:
        raise BadInput(f"no layout {layout!r}; choose from {', '.join(LAYOUTS)}")


def layout_of(shape: tuple[int, ...], name: str) -> str:
    """The one reading whose images have one to four channels; where both have, (N, C, H, W), the library's own layout,
    if its images are square and the other's are not. Nothing else is guessed."""
    _, first, middle, last = shape
    usual = [layout for layout, channels in (("nchw", first), ("nhwc", last)) if channels in _CHANNELS]
    if len(usual) == 1:
        return usual[0]
    if usual and middle == last and (first != middle or first == 1):
        return "nchw"
    raise BadInput(
        f"{name} has shape {shape}, which may be (N, C, H, W) or (N, H, W, C): say which with layout nchw or nhwc "
        "(--layout on the command line)"
    )
