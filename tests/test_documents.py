"""README's and CONTRIBUTING's commands and snippets do what they say."""

import ast
import os
import re
import shlex

from ibrobust.datasets import load_dataset
from ibrobust.files import released_zoo
from ibrobust.subjects.zoo import find_runs
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(text: str) -> list[str]:
    """The `python -m ibrobust…` lines of the sh blocks, without their comments."""
    lines = [line.partition("  #")[0].strip() for block in blocks(text, "sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("python -m ibrobust")]


FEWER = {
    "ibrobust.train": ("--epochs", "4"),
    "ibrobust.evaluate": ("--samples", "5"),
    "ibrobust.audit": ("--samples", "5"),
    "ibrobust.information": ("--samples", "100", "--repeats", "1"),
}
"""What is added to README's commands: of a flag that is given twice the last one holds."""


def test_files_that_documents_name_are_there():
    named = re.compile(
        r"(?<![\w/.])((?:zoo|docs|benchmarks|tests|leaderboard|ibrobust)/[\w./-]+\.(?:toml|md|py|csv|parquet))"
    )
    documents = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "zoo" / "README.md",
        *(ROOT / "docs").rglob("*.md"),
    ]
    missing = [
        f"{path.name}: {name}"
        for path in documents
        for name in named.findall(path.read_text(encoding="utf-8"))
        if "RUN" not in name and not (ROOT / name).exists()
    ]
    assert not missing


def test_readme_starts_with_installation_demo_and_test():
    installed, checkout = blocks(README, "sh")[:2]
    assert installed.startswith("pip install ibrobust ")
    assert checkout.index("make demo") < checkout.index("make test")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_readme_commands_run_one_after_the_other(forked, tmp_path):
    assert any("ibrobust.train --reg l2" in command for command in commands(README))
    assert any("ibrobust.evaluate --eps 0:0.1" in command for command in commands(README))
    for command in commands(README):
        if "mnist" in command and "IBROBUST_DATA" not in os.environ:
            continue
        module, *words = shlex.split(command)[2:]
        process = forked(module, *words, *FEWER.get(module, ()), cwd=tmp_path)
        assert process.wait() == 0, f"{command}\n{process.said()[1]}"


def test_readme_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = load_dataset("digits").test[:20]
    run = find_runs([released_zoo() / "runs"])[0]
    snippets = blocks(README, "python")
    assert snippets
    for snippet in snippets:
        assert len([line for line in snippet.splitlines() if line.strip()]) <= 5
        exec(snippet, {"model": run.model(), "x": data.x, "y": data.y})


def test_a_docstring_is_a_sentence_with_its_subject():
    """No docstring of the package goes on from the name above it ("Of …")."""
    begun = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / "ibrobust").rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip().startswith('"""Of ')
    ]
    assert begun == []


def test_below_the_commands_messages_name_the_parameter():
    """A caller from Python has no flags: one stands in brackets behind the parameter, if at all."""
    flags = [
        f"{path.relative_to(ROOT)}: {part.value}"
        for path in sorted((ROOT / "ibrobust").rglob("*.py"))
        if path.parent.name != "commands"
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("BadInput", "RunFailed")
        for part in ast.walk(call)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
        if re.search(r"--[a-z]", re.sub(r"\([^)]*(\)|$)", "", part.value)) and "--help or --version" not in part.value
    ]
    assert flags == []
