"""Notebooks, run from the first cell to the last, as pages."""

import re
from functools import cache
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

SOURCE = "https://github.com/ibrobust/ibrobust/blob/main/docs/notebooks"


def executed(path: Path) -> NotebookNode:
    """The notebook with what its cells print and draw.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where).execute()
    return notebook


@cache
def page(path: Path) -> dict[str, bytes]:
    """The page, by the names of its Markdown file and its pictures."""
    # Of the site's environment alone: it looks for its templates in the environment that runs.
    from nbconvert import MarkdownExporter

    name = f"notebook-{path.stem}"
    resources = {"unique_key": name, "output_files_dir": f"{name}-files"}
    text, told = MarkdownExporter().from_notebook_node(executed(path), resources=resources)
    title, _, rest = text.strip().partition("\n")
    origin = f"*[{path.name}]({SOURCE}/{path.name}), as it ran when this site was built.*"
    pages = {f"{name}.md": f"{title}\n\n{origin}\n{without_styles(rest)}".encode()}
    return pages | {file.replace("\\", "/"): content for file, content in told["outputs"].items()}


def without_styles(text: str) -> str:
    """Tables as the site styles them, which it does with those that bring no style along."""
    return re.sub(r"<style scoped>.*?</style>\n?", "", text, flags=re.DOTALL).replace(
        '<table border="1" class="dataframe">', "<table>"
    )
