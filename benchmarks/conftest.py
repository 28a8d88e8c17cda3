"""The models and samples that everybody attacks, and the table of ratios at the end of a run."""

from pathlib import Path

import pytest
import torch

from benchmarks.ratios import ratio_table
from benchmarks.victims import benchmark_data, trained_lenet
from ibrobust.cpu.allocator import keep_freed_memory
from ibrobust.datasets import Dataset, Split


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ibrobust benchmarks")
    group.addoption("--bench-data", default=None, help="a data set; MNIST where $IBROBUST_DATA has it, else digits")
    group.addoption("--bench-samples", type=int, default=500)
    group.addoption("--bench-eps", default="0:0.1", help="radii of the sweeps")
    group.addoption("--bench-weights", type=Path, default=None, help="folder where trained victims are kept")
    group.addoption("--bench-threads", type=int, default=2)
    group.addoption("--bench-ratios", type=Path, default=None, help="also write the table of ratios to this CSV file")


@pytest.fixture(scope="session", autouse=True)
def machine(request: pytest.FixtureRequest) -> None:
    """Everybody computes with as many threads, and with the allocator that we would set for ourselves."""
    torch.set_num_threads(request.config.getoption("--bench-threads"))
    keep_freed_memory()


@pytest.fixture(scope="session")
def data(request: pytest.FixtureRequest) -> Dataset:
    return benchmark_data(request.config.getoption("--bench-data"))


@pytest.fixture(scope="session")
def samples(request: pytest.FixtureRequest, data: Dataset) -> Split:
    return data.test[: request.config.getoption("--bench-samples")]


@pytest.fixture(scope="session")
def eps(request: pytest.FixtureRequest) -> str:
    radii: str = request.config.getoption("--bench-eps")
    return radii


@pytest.fixture(scope="session")
def weights(request: pytest.FixtureRequest) -> Path | None:
    folder: Path | None = request.config.getoption("--bench-weights")
    return folder


@pytest.fixture(scope="session")
def victims_eps(adversarial_eps: float) -> str:
    return f"0:{adversarial_eps}"


@pytest.fixture(scope="session")
def plain_model(data: Dataset) -> torch.nn.Module:
    return trained_lenet(data)


@pytest.fixture(scope="session")
def adversarial_eps(data: Dataset) -> float:
    """0.2 on MNIST, whose pixels are nearly black or white; digits of 8 × 8 are not, and fall sooner."""
    return 0.2 if data.name == "mnist" else 0.1


@pytest.fixture(scope="session")
def adversarial_model(data: Dataset, adversarial_eps: float) -> torch.nn.Module:
    return trained_lenet(data, adversarial=adversarial_eps)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    session = getattr(config, "_benchmarksession", None)
    table = ratio_table(session.benchmarks if session else [])
    if table.empty:
        return
    terminalreporter.section("ours beside the libraries")
    terminalreporter.write_line(table.to_string(index=False))
    path: Path | None = config.getoption("--bench-ratios")
    if path is not None:
        table.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")
        terminalreporter.write_line(f"written to {path}")
