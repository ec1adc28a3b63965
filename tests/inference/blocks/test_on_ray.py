import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from aimonk.inference.blocks import on_ray
from aimonk.inference.blocks.block import blocks_of_shards
from aimonk.inference.blocks.job import Job, Outcome, file_digest
from aimonk.inference.blocks.on_ray import cluster, plan, predict_on_ray

ray = pytest.importorskip("ray")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cluster of two nodes of one CPU each, found by RAY_ADDRESS."""
    from ray.cluster_utils import Cluster

    on_ray.import_ray()
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    nodes = Cluster(initialize_head=True, head_node_args=node)
    nodes.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    yield
    nodes.shutdown()


def worker_processes() -> list[int]:
    """Processes of the actors that predict."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"RayWorker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.stress
def test_killed_worker_of_two_nodes_loses_nothing(
    two_nodes, write_shards, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    blocks = blocks_of_shards(write_shards(12, 3))
    with cluster(0):
        with pytest.raises(ValueError, match=r"^workers is 3; expected 1 to 2, the CPUs of the Ray cluster$"):
            plan(3, "auto")
        workers, threads, device = plan(None, "auto")
        assert (workers, threads, device) == (2, 1, "cpu")
        digest = file_digest(checkpoint)
        job = Job(
            checkpoint, digest, device, threads, 8, [0.5] * 3, False, str(tmp_path / "out"), len(blocks)
        )
        running = predict_on_ray(job, blocks, workers)
        outcomes = [next(running)]
        os.kill(worker_processes()[0], signal.SIGKILL)
        outcomes += running
    assert sorted(outcomes, key=lambda outcome: outcome.number) == [Outcome(i, 4, 1) for i in range(12)]
    names = parquet.read_table(tmp_path / "out")["image"].to_pylist()
    assert names == [f"{shard}/{name}.png" for shard in range(12) for name in (0, 1, 2, "broken")]


def test_missing_cluster_is_reported_at_once(monkeypatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(
        ValueError, match=r"^RAY_ADDRESS is 127\.0\.0\.1:1; no cluster can be reached or started"
    ):
        cluster(0).__enter__()
