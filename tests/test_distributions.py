"""What is published: a small wheel that works on its own, the whole zoo as a wheel beside it, and a source archive that
builds both."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pandas as pd
import pytest
from hatchling import build

import ibrobust
from ibrobust import files
from ibrobust.errors import BadInput
from ibrobust.robustness.protocols import PROTOCOLS
from ibrobust.subjects.zoo import find_runs
from tests.conftest import ROOT

MEGABYTE = 1_000_000
MNIST = sorted(path.name for path in (ROOT / "zoo" / "mnist").iterdir())
RUN = "digits-mlp-l2-g0.1-s0-e99535be"


def wheel_of(project: Path, folder: Path) -> Path:
    """The wheel of a project, built there as pip builds it, but without a copy of the builder for itself."""
    before = Path.cwd()
    os.chdir(project)
    try:
        return folder / build.build_wheel(str(folder))
    finally:
        os.chdir(before)


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return wheel_of(ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def zoo_wheel(tmp_path_factory):
    return wheel_of(ROOT / "zoo", tmp_path_factory.mktemp("zoo"))


@pytest.fixture(scope="module")
def metadata(wheel) -> Message:
    name = f"ibrobust-{ibrobust.__version__}.dist-info/METADATA"
    return Parser().parsestr(contents(wheel)[name].decode())


def test_the_wheel_is_small_and_typed_and_carries_a_part_of_the_digits_zoo(wheel):
    names = contents(wheel)
    assert wheel.stat().st_size < 2 * MEGABYTE
    assert "ibrobust/py.typed" in names
    assert all(name.startswith(("ibrobust/", f"ibrobust-{ibrobust.__version__}.dist-info/")) for name in names)
    released = {Path(name).parts[3] for name in names if name.startswith("ibrobust/released/runs/")}
    kinds = sorted(name.removeprefix("digits-mlp-").split("-g")[0] for name in released)
    assert kinds == ["dvib", "l2", "none", "none", "none-adv0.1", "weight-decay"]
    recipes = {path.name for path in (ROOT / "zoo" / "recipes").iterdir()}
    assert {Path(name).name for name in names if name.startswith("ibrobust/released/recipes/")} == recipes
    for protocol in ("paper", "strict"):
        assert protocol in PROTOCOLS
        assert {f"ibrobust/released/results/{protocol}/{run}.parquet" for run in released} <= set(names)


def test_the_zoo_s_wheel_is_the_whole_zoo(zoo_wheel):
    ours = {
        path.relative_to(ROOT / "zoo").as_posix(): path.read_bytes()
        for path in (ROOT / "zoo").rglob("*")
        if path.is_file() and path.name != "pyproject.toml"
    }
    theirs = {
        name.removeprefix("ibrobust_zoo/"): content
        for name, content in contents(zoo_wheel).items()
        if name.startswith("ibrobust_zoo/") and name != "ibrobust_zoo/LICENSE"
    }
    assert theirs == ours


def test_the_source_archive_builds_the_same_wheels(wheel, zoo_wheel, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    archive = tmp_path / build.build_sdist(str(tmp_path))
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    source = tmp_path / archive.name.removesuffix(".tar.gz")
    for project, expected in ((source, wheel), (source / "zoo", zoo_wheel)):
        assert contents(wheel_of(project, tmp_path)) == contents(expected)


def test_the_metadata_says_what_is_tested(metadata):
    workflow = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    stated = [text.removeprefix("Programming Language :: Python :: ") for text in metadata.get_all("Classifier")]
    versions = [text for text in stated if text.startswith("3.")]
    assert versions == ["3.11", "3.12", "3.13"]
    assert all(f'"{version}"' in workflow for version in versions)
    assert metadata["Requires-Python"] == f">={versions[0]}"
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    assert {text.partition(",")[0] for text in metadata.get_all("Project-URL")} >= {"Homepage", "Documentation"}


def test_the_version_has_its_changes_and_is_what_is_cited():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    dated = rf"^## \[{re.escape(ibrobust.__version__)}\] - (\d{{4}}-\d\d-\d\d)$"
    (date,) = re.findall(dated, changes, re.MULTILINE)
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {ibrobust.__version__}\ndate-released: {date}\n" in cited


def test_the_extra_takes_the_zoo_of_this_checkout(metadata):
    from packaging.requirements import Requirement

    wanted = [Requirement(text) for text in metadata.get_all("Requires-Dist")]
    (zoo,) = [each for each in wanted if each.name == "ibrobust-zoo"]
    version = tomllib.loads((ROOT / "zoo" / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert zoo.specifier.contains(version)
    assert zoo.marker is not None
    assert zoo.marker.evaluate({"extra": "zoo"})


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A fresh environment with the wheel, where everything else is what the tests run with; runs a command in it."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    install(wheel, scripts / "python")
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    (site,) = subprocess.check_output([scripts / "python", "-c", code], text=True).splitlines()
    others = Path(pd.__file__).parent.parent
    (Path(site) / "others.pth").write_text(f"{others}\n", encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "IBROBUST_DATA")}

    def finished(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        call = [str(scripts / words[0]), *words[1:]]
        return subprocess.run(
            call, cwd=cwd, env=environment, capture_output=True, encoding="utf-8", timeout=600, check=False
        )

    return finished, scripts / "python"


def install(wheel: Path, python: Path) -> None:
    words = ["--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)


def test_the_installed_wheel_works_on_its_own_and_with_the_zoo(installed, zoo_wheel, tmp_path):
    finished, python = installed
    assert finished("ibrobust", "--version", cwd=tmp_path).stdout == f"ibrobust {ibrobust.__version__}\n"
    code = "import ibrobust.files; print(ibrobust.__file__); print(ibrobust.files.released_zoo())"
    place, part = finished("python", "-c", code, cwd=tmp_path).stdout.splitlines()
    assert Path(place).is_relative_to(python.parent.parent)
    assert Path(part) == Path(place).parent / "released"

    words = [f"zoo/runs/{RUN}", "--samples", "10", "--eps", "0.1", "--out", "own"]
    evaluated = finished("ibrobust", "evaluate", *words, cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "a part of the released zoo is here, pip install 'ibrobust[zoo]'" in evaluated.stderr
    assert list(pd.read_csv(tmp_path / "own" / "leaderboard.csv")["run"]) == [RUN]

    missing = finished("ibrobust", "report", "zoo", "--data", "mnist", cwd=tmp_path)
    assert missing.returncode == 2
    assert missing.stderr.splitlines()[-1].endswith("pip install 'ibrobust[zoo]' brings all of it")

    install(zoo_wheel, python)
    _, whole = finished("python", "-c", code, cwd=tmp_path).stdout.splitlines()
    assert Path(whole) == Path(place).parent.parent / "ibrobust_zoo"
    assert sorted(path.name for path in (Path(whole) / "mnist").iterdir()) == MNIST


def test_a_run_that_is_in_the_rest_of_the_zoo_is_refused_with_the_way_to_it(tmp_path, monkeypatch):
    (tmp_path / "released" / "runs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, "released_zoo", lambda: tmp_path / "released")
    with pytest.raises(BadInput, match=r"no run in 'zoo/mnist'.*; a part of .* 'ibrobust\[zoo\]' brings all of it"):
        find_runs([Path("zoo/mnist")])
    with pytest.raises(BadInput, match=r"for the released ones$"):
        find_runs([Path("mnist")])
