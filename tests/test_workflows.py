"""What a code host reads of this repository, workflows and forms, has the form that it expects."""

import re
import shlex
from importlib import import_module

import pytest
from check_jsonschema import main as check_jsonschema
from click.testing import CliRunner

from tests.conftest import ROOT

GITHUB = ROOT / ".github"
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
READ = {
    "github-workflows": sorted((GITHUB / "workflows").glob("*.yml")),
    "github-issue-forms": FORMS,
    "github-issue-config": [GITHUB / "ISSUE_TEMPLATE" / "config.yml"],
    "dependabot": [GITHUB / "dependabot.yml"],
    "citation-file-format": [ROOT / "CITATION.cff"],
}


def complaints(schema, paths):
    """What is wrong with files by a schema that comes with the library; nothing where all is well."""
    done = CliRunner().invoke(check_jsonschema, ["--builtin-schema", f"vendor.{schema}", *map(str, paths)])
    return "" if done.exit_code == 0 else done.output


@pytest.mark.parametrize("schema", READ)
def test_a_file_has_the_form_that_its_reader_expects(schema):
    assert READ[schema]
    assert complaints(schema, READ[schema]) == ""


@pytest.mark.parametrize(
    ("schema", "right", "wrong", "why"),
    [
        ("github-workflows", "runs-on: ubuntu-latest", "run-on: ubuntu-latest", "runs-on"),
        ("github-issue-forms", "type: textarea", "type: textbox", "textbox"),
    ],
)
def test_a_word_that_is_none_is_found(tmp_path, schema, right, wrong, why):
    spoiled = tmp_path / "spoiled.yml"
    text = READ[schema][0].read_text(encoding="utf-8")
    assert right in text
    spoiled.write_text(text.replace(right, wrong), encoding="utf-8")
    assert why in complaints(schema, [spoiled])


def test_what_a_workflow_calls_is_there():
    """Commands of a workflow are those that the package has, with flags that they take."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in READ["github-workflows"])
    lines = re.findall(r"run: (?:python -m ibrobust\.|ibrobust )(\w+)( .*)?$", text, re.MULTILINE)
    assert len(lines) >= 4
    for name, words in lines:
        import_module(f"ibrobust.commands.{name}")._parser().parse_args(shlex.split(words))
