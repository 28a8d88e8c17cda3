"""What the site has beside the files of this folder: pages of the repository's root, notebooks as they run, figures
made now, and the leaderboard of all submissions. The build fails where a page asks another host for anything."""

import re
import subprocess
import sys
from pathlib import Path

from gallery import gallery
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from notebooks import page

ROOT = Path(__file__).parent.parent.parent
SOURCE = "https://github.com/ibrobust/ibrobust/blob/main"

OF_THE_ROOT = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md", "zoo.md": "zoo/README.md"}

STYLE = "wide-tables.css"
_WIDE_TABLES = """\
/* Tables of numbers: many narrow columns instead of a few wide ones, figures below one another. */
.md-typeset table:not([class]) { font-variant-numeric: tabular-nums; }
.md-typeset table:not([class]) th, .md-typeset table:not([class]) td { min-width: 0; padding: .5em .6em; }
"""

_FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=["']?(?:https?:)?//[^"'\s>]+"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preload|preconnect|icon|dns-prefetch))[^>]*\bhref=["']?(?:https?:)?//[^>]+""",
    re.IGNORECASE,
)
"""What a browser loads by itself; a link that a reader may follow is none of it."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, source in OF_THE_ROOT.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=within_the_site(text)))
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        for name, content in page(notebook).items():
            files.append(File.generated(config, name, content=content))
    for name, content in {**gallery(), STYLE: _WIDE_TABLES}.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    return at_the_source(markdown)


def on_post_build(config: MkDocsConfig) -> None:
    fetched = {
        f"{path.relative_to(config.site_dir)}: {found}"
        for path in Path(config.site_dir).rglob("*.html")
        for found in _FETCHED.findall(path.read_text(encoding="utf-8"))
    }
    if fetched:
        raise PluginError("pages ask other hosts:\n" + "\n".join(sorted(fetched)))
    build_board(ROOT / "leaderboard" / "entries", Path(config.site_dir) / "board")


def build_board(entries: Path, out: Path) -> None:
    """The leaderboard of the submissions in a folder, as a page with its tables and figures; nothing without one."""
    if not any(entries.glob("*.zip")):
        return
    words = [sys.executable, "-m", "ibrobust", "report", str(entries), "--html", "--out", str(out)]
    finished = subprocess.run(words, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    if finished.returncode:
        raise PluginError(f"the leaderboard of submissions: {finished.stderr}")


def within_the_site(text: str) -> str:
    """Links of a file in the repository's root, as a page of the site has them."""
    return re.sub(r"\]\(docs/", "](", text)


def at_the_source(text: str) -> str:
    """Links to files that are in the repository and not in the site lead to the repository."""
    return re.sub(r"\]\((?:\.\./)+((?:ibrobust|tests|benchmarks|zoo)/[^)]*)\)", rf"]({SOURCE}/\1)", text)
