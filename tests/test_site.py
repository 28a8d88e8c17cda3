"""The documentation site: no page is forgotten, every command in it is understood, notebooks run, and nothing is asked
of another host."""

import re
import shlex
import sys
from importlib import import_module
from types import SimpleNamespace

import pytest

from ibrobust.__main__ import COMMANDS
from ibrobust.commands.command_line import BadInput
from tests.conftest import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md"))


@pytest.fixture
def built(monkeypatch):
    """A module of the site's own build, by name."""
    monkeypatch.syspath_prepend(str(DOCS / "build"))
    yield import_module
    for name in ("hooks", "gallery", "notebooks"):
        sys.modules.pop(name, None)


def test_every_page_is_in_the_navigation():
    from mkdocs.config import load_config
    from mkdocs.structure.files import get_files
    from mkdocs.structure.nav import get_navigation

    config = load_config(
        str(ROOT / "mkdocs.yml"), hooks=[], plugins=["awesome-nav"], theme="mkdocs", markdown_extensions=[]
    )
    files = get_files(config)
    config.plugins.on_files(files, config=config)
    nav = config.plugins.on_nav(get_navigation(files, config), config=config, files=files)
    assert {page.file.src_uri for page in nav.pages} == {path.relative_to(DOCS).as_posix() for path in PAGES}


def test_the_style_of_tables_is_made_where_pages_look_for_it(built, monkeypatch):
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), hooks=[], plugins=[], theme="mkdocs", markdown_extensions=[])
    hooks, made = built("hooks"), {}
    monkeypatch.setattr(hooks, "gallery", dict)
    monkeypatch.setattr(hooks, "page", lambda notebook: {})
    monkeypatch.setattr(hooks.File, "generated", lambda config, name, *, content: made.update({name: content}))
    hooks.on_files([], config=config)
    (style,) = config.extra_css
    assert "min-width: 0" in made[style]


def command_lines() -> list[str]:
    blocks = [
        block
        for path in [*PAGES, ROOT / "README.md", ROOT / "zoo" / "README.md"]
        for block in re.findall(r"```(?:sh|text)\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    ]
    lines = [re.split(r"\s{2,}#| # ", line)[0].strip() for block in blocks for line in block.splitlines()]
    return sorted({line for line in lines if re.match(r"(python -m )?ibrobust[. ]", line)})


def test_every_command_of_the_pages_is_understood():
    lines = command_lines()
    assert len(lines) > 30
    for line in lines:
        name, *words = shlex.split(line.removeprefix("python -m ").replace("ibrobust.", "ibrobust ", 1))[1:]
        assert name in COMMANDS, line
        if "--help" in words:
            continue
        try:
            import_module(f"ibrobust.commands.{name}")._parser().parse_args(words)
        except (SystemExit, BadInput) as error:
            pytest.fail(f"{line}\n{error}")


def test_what_a_browser_would_fetch_from_elsewhere_ends_the_build(built, tmp_path):
    from mkdocs.exceptions import PluginError

    hooks, page = built("hooks"), tmp_path / "index.html"
    harmless = (
        '<a href="https://a.example/">a</a> <script src="assets/a.js"></script> <link rel="canonical" href="https://b">'
    )
    page.write_text(harmless, encoding="utf-8")
    hooks.on_post_build(SimpleNamespace(site_dir=str(tmp_path)))
    for fetched in (
        '<script src="https://cdn.example/a.js">', "<img alt=x src=//cdn.example/a.png>",
        '<link href="https://fonts.example/css" rel="stylesheet">', '<link rel=preconnect href="https://fonts.example">',
    ):  # fmt: skip
        page.write_text(harmless + fetched, encoding="utf-8")
        with pytest.raises(PluginError, match=r"index\.html: .*example"):
            hooks.on_post_build(SimpleNamespace(site_dir=str(tmp_path)))


def test_links_of_the_root_s_pages_lead_within_the_site(built):
    hooks = built("hooks")
    assert hooks.within_the_site("[a](docs/attacks.md#norms)") == "[a](attacks.md#norms)"
    assert hooks.at_the_source("[a](../zoo/README.md)") == f"[a]({hooks.SOURCE}/zoo/README.md)"
    assert hooks.at_the_source("[a](../attacks.md)") == "[a](../attacks.md)"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", sorted((DOCS / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs(built, path):
    """A cell that fails raises; that pictures and tables are there is looked at."""
    notebook = built("notebooks").executed(path)
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in shown if output.output_type == "error"]
    kinds = [kind for output in shown for kind in output.get("data", {})]
    assert kinds.count("image/png") >= 1
    assert kinds.count("text/html") >= 3
    assert all(not cell.outputs for cell in notebook_as_kept(path).cells if cell.cell_type == "code")


def notebook_as_kept(path):
    import nbformat

    return nbformat.read(path, as_version=4)
