"""Long lists of names: a miss names those that are near."""

from collections.abc import Sequence
from difflib import get_close_matches

from ibrobust.errors import BadInput, shortened


def require_known(name: str, names: Sequence[str], whose: str, what: str) -> None:
    """Raises:
    BadInput: the name is not among them.
    """
    if name not in names:
        near = get_close_matches(name, names, n=5) or sorted(names)[:5]
        raise BadInput(
            f"{what}: no model {shortened(name)!r} in {whose}; it has {len(names)}, such as {', '.join(near)}"
        )
