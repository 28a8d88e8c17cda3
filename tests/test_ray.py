"""On a Ray cluster of two nodes results are the same bytes, whatever of it dies; what does not fit is named."""

import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import ibrobust
from ibrobust.commands.audit import main as audit
from ibrobust.commands.certify import main as certify
from ibrobust.commands.evaluate import main as evaluate
from ibrobust.commands.information import main as information
from ibrobust.commands.train import main as train
from ibrobust.errors import BadInput
from ibrobust.experiments import ray_cluster, ray_driver
from ibrobust.experiments.jobs import Place, Workload, outcomes
from ibrobust.experiments.same_package import differences, this_package
from tests.light_jobs import Work, visible
from tests.test_jobs import contents

pytest.importorskip("ray", reason="Ray is not installed: pip install 'ibrobust[ray]'")
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc"),
]
NODE = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": 100 * 2**20}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two nodes on this machine, each with one CPU."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patched.setenv("IBROBUST_DATA", "/nowhere")
        from ray.cluster_utils import Cluster

        before = signal.getsignal(signal.SIGTERM)
        # Its processes end with this one, even if this one is killed.
        found = Cluster(True, head_node_args={**NODE, "include_dashboard": False}, shutdown_at_exit=True)
        found.add_node(**NODE)
        signal.signal(signal.SIGTERM, before)
        yield found
        found.shutdown()


def on(cluster) -> Place:
    return Place("ray", 2, cluster.address)


def squares(place: Place, numbers: list[int], folder: Path) -> Iterator[int]:
    left = iter(numbers)
    for outcome in outcomes(Workload(Work(folder), lambda: next(left, None)), place):
        assert outcome.answer == (None if outcome.failure else outcome.item**2)
        yield 0 if outcome.failure else outcome.item


def test_a_worker_that_is_killed_costs_its_item_alone_and_a_failure_too(cluster, tmp_path):
    assert sorted(squares(on(cluster), [1, 2, 3, 0, 4], tmp_path)) == [0, 1, 2, 3, 4]
    assert (tmp_path / "died").exists()


def test_refused_input_ends_it(cluster, tmp_path):
    with pytest.raises(BadInput, match="positive numbers"):
        list(squares(on(cluster), [-1], tmp_path))


@pytest.mark.parametrize(("gpus", "seen"), [(0.5, {"0"}), (0.0, {""})])
def test_a_job_sees_the_gpu_that_it_takes_a_share_of_and_is_heard_while_it_works(cluster, gpus, seen):
    items, heard = iter([1, 2]), []
    work = Workload(visible, lambda: next(items, None), lambda *told: heard.append(told), gpus=gpus)
    assert {outcome.answer for outcome in outcomes(work, on(cluster))} == seen
    assert set(heard) <= {(1, "begun"), (2, "begun")}
    assert heard


def test_room_is_what_cpus_and_gpus_allow():
    assert ray_driver.room_of({"CPU": 8.0, "GPU": 2.0}, 0.0) == 8
    assert ray_driver.room_of({"CPU": 8.0, "GPU": 2.0}, 0.1) == 8
    assert ray_driver.room_of({"CPU": 8.0, "GPU": 2.0}, 0.5) == 4
    assert ray_driver.room_of({"CPU": 8.0}, 0.5) == 0
    assert ray_driver.room_of({}, 0.0) == 1


def test_what_a_killed_command_leaves_is_removed_and_what_a_living_one_has_is_not(tmp_path):
    with ray_cluster._own_folder(tmp_path) as living:
        abandoned = tmp_path / "ibr-abandoned"
        (abandoned / "session").mkdir(parents=True)
        with ray_cluster._own_folder(tmp_path) as own:
            assert sorted(map(str, tmp_path.iterdir())) == sorted([living, own])
    assert not list(tmp_path.iterdir())


def children() -> list[int]:
    """Processes that this one has started and that are drivers of Ray."""
    found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(encoding="utf-8").split()
    return [int(pid) for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_driver_that_is_killed_is_replaced(cluster, tmp_path):
    done = []
    for number in squares(on(cluster), [1, 2, 4, 5], tmp_path):
        if not done:
            (driver,) = children()
            os.kill(driver, signal.SIGKILL)
        done.append(number)
    assert sorted(done) == [1, 2, 4, 5]
    assert not children()


def test_the_same_bytes_when_a_node_is_lost(cluster, folder, monkeypatch):
    """The data is on this machine alone: nodes have another data folder, and other working folders."""
    words = ["--runs", "runs", "--samples", "60", "--eps", "0:0.1:3", "--keep-images"]
    evaluate([*words, "--out", "here"])
    lost = cluster.add_node(**NODE)
    heard = ray_cluster._Driver.heard

    def after_the_first_answer(driver):
        said = heard(driver)
        if said and said[0] == "answered" and lost in cluster.worker_nodes:
            cluster.remove_node(lost, allow_graceful=False)
        return said

    monkeypatch.setattr(ray_cluster._Driver, "heard", after_the_first_answer)
    monkeypatch.setattr("ibrobust.experiments.pace.Pace.size", lambda *_: 10)
    evaluate([*words, "--out", "there", "--engine", "ray", "--address", cluster.address])
    assert lost not in cluster.worker_nodes
    assert contents(folder / "there") == contents(folder / "here")


def test_audits_certificates_and_information_are_the_same_there(cluster, folder):
    evaluate(["--runs", "runs", "--samples", "4", "--eps", "0,0.1", "--out", "here"])
    shutil.copytree("here", "there")
    for name, more in (("here", []), ("there", ["--engine", "ray", "--address", cluster.address, "--workers", "1"])):
        audit(["--runs", "runs", "--samples", "4", "--results", name, *more])
        certify(["--runs", "runs", "--samples", "4", "--results", name, *more])
        information(["--runs", "runs", "--samples", "20", "--repeats", "1", "--view", "mean", "--out", name, *more])
    assert (folder / "here" / "certified.csv").is_file()
    assert contents(folder / "there") == contents(folder / "here")


def test_runs_are_trained_there_and_written_here(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--data", "digits", "--epochs", "1", "--train-samples", "64", "--reg", "l2"]
    train([*words, "--runs", "here"])
    train([*words, "--runs", "there", "--engine", "ray", "--address", cluster.address])
    assert len(contents(tmp_path / "here")) == 3
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_a_node_with_another_version_is_refused_by_name(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_cluster, "this_package", lambda: {**this_package(), "ibrobust": "0.1.0"})
    with pytest.raises(
        BadInput, match=r"^node [0-9.]+ of the Ray cluster has ibrobust .* \(here 0.1.0\); install the same"
    ):
        list(squares(on(cluster), [1], tmp_path))


def test_a_node_without_the_package_or_with_a_much_older_one_says_so(monkeypatch):
    done = ray_driver._task()
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "ibrobust.experiments.ray_worker", None)
        kind, said = done({"ibrobust": "7.0"}, "", [], b"", 0, None)
    assert kind == "apart"
    assert f"has ibrobust {ibrobust.__version__}, and here is 7.0" in said
    monkeypatch.setitem(sys.modules, "ibrobust", None)
    kind, said = done({"ibrobust": "7.0"}, "", [], b"", 0, None)
    assert kind == "apart"
    assert "does not have ibrobust 7.0" in said


def test_other_versions_are_named():
    here = this_package()
    assert differences(here, here) == ""
    assert differences({**here, "torch": "1.0"}, here) == f"torch 1.0 (here {here['torch']})"
    assert "with other source files" in differences({**here, "source": "abc"}, here)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:x", ":80", "127.0.0.1:70000"])
def test_an_address_is_a_host_and_a_port(tmp_path, address):
    with pytest.raises(BadInput, match=r"^address '.*'; write HOST:PORT, or auto"):
        list(squares(Place("ray", 2, address), [1], tmp_path))


def test_where_nobody_listens(tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(BadInput, match=r"no Ray cluster can be reached there: Connection refused$"):
        list(squares(Place("ray", 2, f"127.0.0.1:{port}"), [1], tmp_path))


def test_where_something_else_listens(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_cluster, "_ANSWERED", 1.0)
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(BadInput, match=rf"^address '{address}': nothing that speaks Ray has answered there$"):
            list(squares(Place("ray", 2, address), [1], tmp_path))
    assert not children()
