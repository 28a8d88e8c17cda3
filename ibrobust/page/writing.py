"""The page as files: one that holds everything, or a folder whose runs are read when they are opened."""

import base64
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import ibrobust
from ibrobust.files import written_whole
from ibrobust.page.board import board_of
from ibrobust.page.details import details_of
from ibrobust.page.entries import Entry, histories_of
from ibrobust.page.pictures import chosen_samples

PAGE = "index.html"
_HERE = Path(__file__).parent
_LIBRARIES = ("d3.min.js", "plot.umd.min.js", "tabulator.min.js")
_STYLES = ("libraries/tabulator_simple.min.css", "page.css")


def write_page(
    entries: Sequence[Entry],
    out: Path,
    *,
    runs: Sequence[Path],
    pictures: int = 12,
    single_file: bool = False,
    by_seed: bool = False,
) -> list[Path]:
    """Write `out/index.html`, and unless everything is to be in that file, `out/runs/*.js` beside it.

    Args:
        entries: the results, at least one.
        runs: folders of runs, whose training histories are shown.
        pictures: samples whose adversarial images are shown, the same ones for all results that can be compared.
        by_seed: list each training seed of a recipe alone; by default there is a row for all of them, too, which the
            page shows first.

    Returns:
        The files, the one to open first.

    Raises:
        BadInput: a file beside the results is not whole, or the folder cannot be written.
    """
    board, ordered = board_of(entries, by_seed=by_seed)
    details = _details(ordered, board["pair"], runs, pictures)
    if single_file:
        embedded = [json_text(each) for each in details]
        counts: list[int] = [len(json.loads(text)["pictures"]) for text in embedded]
    else:
        embedded, counts = [], [_save_script(number, each, out / "runs") for number, each in enumerate(details)]
    _remove_others(out / "runs", 0 if single_file else len(counts))
    board["pictures"] = counts
    with written_whole(out / PAGE) as unfinished:
        unfinished.write_text(_html(board, embedded, single_file), encoding="utf-8", newline="\n")
    return [out / PAGE, *(out / "runs" / f"{number}.js" for number in range(0 if single_file else len(counts)))]


def json_text(value: Any) -> str:
    """JSON in ASCII that ends no element and begins no comment, wherever in a page it stands."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return re.sub("[<>&]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _details(
    ordered: Sequence[Entry], pairs: Sequence[int], runs: Sequence[Path], pictures: int
) -> Iterator[dict[str, Any]]:
    groups = defaultdict(list)
    for entry, pair in zip(ordered, pairs, strict=True):
        groups[pair].append(entry)
    samples = {pair: chosen_samples(group, pictures) for pair, group in groups.items()}
    histories = histories_of(runs)
    for entry, pair in zip(ordered, pairs, strict=True):
        yield details_of(entry, samples[pair], histories)


def _save_script(number: int, details: dict[str, Any], folder: Path) -> int:
    """The number of pictures in it. A script, since a page from disk may read no other file."""
    with written_whole(folder / f"{number}.js") as unfinished:
        unfinished.write_text(f"ibrobustDetails({number},{json_text(details)});\n", encoding="ascii", newline="\n")
    return len(details["pictures"])


def _remove_others(folder: Path, count: int) -> None:
    """What an earlier page of more runs left."""
    for path in folder.glob("*.js"):
        if path.stem.isdecimal() and int(path.stem) >= count:
            path.unlink()


def _html(board: dict[str, Any], embedded: Sequence[str], single_file: bool) -> str:
    own = "\n".join(path.read_text(encoding="utf-8") for path in sorted((_HERE / "scripts").glob("*.js")))
    libraries = [(_HERE / "libraries" / name).read_text(encoding="utf-8") for name in _LIBRARIES]
    scripts = [_without_map(text) for text in (*libraries, f'"use strict";\n(() => {{\n{own}\n}})();')]
    styles = [_without_map((_HERE / name).read_text(encoding="utf-8")) for name in _STYLES]
    for text in scripts:
        assert "</script" not in text.lower(), "it would end its element"
    template = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).get_template("page.html.jinja")
    return template.render(
        scripts=scripts,
        styles=styles,
        policy=_policy(scripts, single_file),
        board=json_text(board),
        details=embedded,
        version=ibrobust.__version__,
        results=len(board["rows"]),
    )


def _policy(scripts: Sequence[str], single_file: bool) -> str:
    """What the browser may do: run these very scripts, and of a folder its own, draw pictures that are in the page, and
    ask nobody for anything."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = [f"'sha256-{digest}'" for digest in digests] + ([] if single_file else ["'self'", "file:"])
    return (
        f"default-src 'none'; script-src {' '.join(allowed)}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _without_map(text: str) -> str:
    """Source maps are not brought along."""
    return re.sub(r"\n?(//# sourceMappingURL=\S+|/\*# sourceMappingURL=\S+ \*/)\s*$", "", text)
