"""README's links lead somewhere on a package index, too: they are absolute, and what they name is in the checkout."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import ROOT

SOURCE = "https://github.com/ibrobust/ibrobust/blob/main/"
RAW = "https://raw.githubusercontent.com/ibrobust/ibrobust/main/"
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def targets(text: str) -> list[str]:
    """What the links and images of a text lead to, also by way of a definition, but for code."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r"^\[[^\]]+\]: (\S+)$", prose, re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """The anchors that headings of a Markdown file get."""
    titles = HEADING.findall(path.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def missing(target: str, folder: Path) -> str | None:
    """Why a link leads nowhere in the checkout; nothing where it leads somewhere."""
    place, _, anchor = target.removeprefix(SOURCE).removeprefix(RAW).partition("#")
    path = (ROOT if target.startswith(("https:", "http:")) else folder) / place
    if not path.exists():
        return f"{target}: no such file"
    return f"{target}: no such heading" if anchor and anchor not in anchors(path) else None


def test_readme_s_links_are_absolute_and_lead_to_files_of_the_checkout():
    found = targets((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(found) > 10
    assert [target for target in found if not target.startswith((SOURCE, RAW, "#"))] == []
    assert [why for target in found if (why := missing(target, ROOT))] == []


def test_readme_s_definitions_are_all_used():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    defined = re.findall(r"^\[([^\]]+)\]: ", text, re.MULTILINE)
    assert sorted(set(re.findall(r"\]\[([^\]]+)\]", text))) == sorted(defined)


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "CHANGELOG.md", "zoo/README.md"])
def test_links_of_other_pages_of_the_root_lead_to_files(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    own = [target for target in targets(text) if ":" not in target]
    assert [why for target in own if (why := missing(target, (ROOT / name).parent))] == []


def test_pictures_on_a_package_index_are_the_raw_files():
    """A page around a picture is no picture."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert pictures
    assert all(picture.startswith(RAW) for picture in pictures)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (f"{SOURCE}docs/no-such.md", "no such file"),
        (f"{SOURCE}docs/leaderboard.md#with-noise", None),
        (f"{SOURCE}docs/leaderboard.md#no-such", "no such heading"),
        ("docs/leaderboard.md", None),
    ],
)
def test_a_link_that_leads_nowhere_is_found(target, why):
    assert (missing(target, ROOT) or "").endswith(why or "")
    assert bool(missing(target, ROOT)) == bool(why)


def test_links_to_other_hosts_are_followed(tmp_path, monkeypatch):
    """The workflow follows those of the pages; here a host of our own answers."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "build"))
    from links import dead, links

    class Host(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response({"/there": 200, "/private": 403}.get(self.path, 404))
            self.end_headers()

        def log_message(self, *_):
            pass

    assert links("[a](https://a.org/x_(y)#z), <https://b.org/c>. `http://localhost:1`") == {
        "https://a.org/x_", "https://b.org/c",
    }  # fmt: skip
    with ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr("links._MADE_UP", re.compile("nothing"))
        page, at = tmp_path / "page.md", f"http://127.0.0.1:{server.server_port}"
        page.write_text(f"[a]({at}/there) [b]({at}/private) [c]({at}/gone) [d](http://127.0.0.1:9/none)")
        found = dead([page], tries=1)
        server.shutdown()
    said = dict(line.partition(": ")[2].split(": ", 1) for line in found)
    assert said.keys() == {"http://127.0.0.1:9/none", f"{at}/gone"}
    assert said[f"{at}/gone"] == "404 Not Found"


def test_the_addresses_are_those_of_the_metadata():
    assert f'Homepage = "{SOURCE.removesuffix("/blob/main/")}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f"repository-code: {SOURCE.removesuffix('/blob/main/')}" in (ROOT / "CITATION.cff").read_text(
        encoding="utf-8"
    )
