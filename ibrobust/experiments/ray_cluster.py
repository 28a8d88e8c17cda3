"""Jobs on a Ray cluster: every machine has the package installed, and `IBROBUST_DATA` is set on each."""

import pickle
from collections.abc import Iterator
from typing import Any

from ibrobust.errors import BadInput, RunFailed
from ibrobust.experiments.jobs import Outcome, Workload, packed, unpacked


def ray_cluster(work: Workload, workers: int, address: str | None) -> Iterator[Outcome]:
    """An engine: items are tasks, as many at a time as the cluster has CPUs."""
    try:
        import ray
    except ModuleNotFoundError as error:
        raise BadInput(f"engine 'ray' is not installed ({error}): pip install 'ibrobust[ray]'") from error
    ray.init(address=address, num_cpus=None if address else workers, log_to_driver=False)
    try:
        sent, remote = ray.put(packed(work)), ray.remote(_done)
        most = int(ray.cluster_resources().get("CPU", 1)) if address else workers  # type: ignore[no-untyped-call]
        running: dict[Any, Any] = {}
        while True:
            while len(running) < most and (item := work.next_item()) is not None:
                running[remote.remote(sent, pickle.dumps(item))] = item
            if not running:
                return
            ready, _ = ray.wait([*running], num_returns=1)
            for reference in ready:
                yield _outcome(ray.get, reference, running.pop(reference))
    finally:
        ray.shutdown()


def _outcome(get: Any, reference: Any, item: Any) -> Outcome:
    try:
        return Outcome(item, get(reference))
    except RunFailed as failure:
        return Outcome(item, failure=failure)


def _done(sent: bytes, item: bytes) -> Any:
    """The answer of a job, in a process that has nothing but the package yet."""
    return unpacked(sent)(pickle.loads(item), lambda _message: None)
