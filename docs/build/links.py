"""Follow every link of the pages to another host, and say which of them lead nowhere: `python docs/build/links.py`.

It needs a network and nothing but Python. Exit code 1 where a page is gone, or a host did not answer three times.
"""

import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = ["*.md", "docs/**/*.md", "zoo/*.md", "leaderboard/*.md", "CITATION.cff", "pyproject.toml", "mkdocs.yml"]
_LINK = re.compile(r"https?://[^\s<>()\[\]\"'`{}|\\^]+")
_MADE_UP = re.compile(r"https?://(localhost|127\.0\.0\.1|[^/]*\bexample\b)", re.IGNORECASE)
_REFUSED = (401, 403, 405, 429)
"""A host that is there and does not want to be read by a program."""


def links(text: str) -> set[str]:
    """The addresses in a text, but for those that are made up."""
    found = {address.rstrip(".,;:*") for address in _LINK.findall(text)}
    return {address.partition("#")[0] for address in found if not _MADE_UP.match(address)}


def why_dead(address: str, *, tries: int = 3, wait: float = 5.0) -> str | None:
    """Why an address leads nowhere; None where it leads somewhere."""
    reason = ""
    for attempt in range(tries):
        if attempt:
            time.sleep(wait)
        try:
            request = urllib.request.Request(address, headers={"User-Agent": "ibrobust-links/1"})
            with urllib.request.urlopen(request, timeout=30):
                return None
        except urllib.error.HTTPError as error:
            if error.code in _REFUSED:
                return None
            reason = f"{error.code} {error.reason}"
            if error.code in (404, 410):
                break
        except (OSError, ValueError) as error:
            reason = str(error)
    return reason


def dead(pages: Iterable[Path], **how: float) -> list[str]:
    """A line for each link that leads nowhere, with the first page that has it."""
    of: dict[str, Path] = {}
    for page in pages:
        for address in links(page.read_text(encoding="utf-8")):
            of.setdefault(address, page)
    with ThreadPoolExecutor(8) as pool:
        reasons = pool.map(lambda address: why_dead(address, **how), of)  # type: ignore[arg-type]
    return sorted(f"{of[address]}: {address}: {why}" for address, why in zip(of, reasons, strict=True) if why)


if __name__ == "__main__":
    lines = dead(sorted({path for pattern in PAGES for path in ROOT.glob(pattern)}))
    print("\n".join(lines) or "every link leads somewhere")
    sys.exit(bool(lines))
