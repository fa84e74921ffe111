"""Ray and Slurm: the same run directories, resumed by the same logic. Needs the extras `ray` and `slurm`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from grids import GRID, ablate, results, times_trained

from krpo.rundir import find_runs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
LONGER = ("steps=40", "prompts_per_step=4", "--save-every", "4")

RAY = """\
import sys, threading, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from ablations.cli import main

root, options = Path(sys.argv[1]), sys.argv[2:]
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
other = cluster.add_node(num_cpus=1)
ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")

def kill_node():
    while len(list(root.glob("*/resume/*/COMPLETE"))) < 2:
        time.sleep(0.1)
    cluster.remove_node(other, allow_graceful=False)
    print("node killed", flush=True)

threading.Thread(target=kill_node, daemon=True).start()
status = main(options)
print("nodes alive:", sum(node["Alive"] for node in ray.nodes()), flush=True)
ray.shutdown()
cluster.shutdown()
sys.exit(status)
"""

SLURM = """\
import sys, time
from pathlib import Path
from ablations import executors
from ablations.cli import main
from ablations.executors.slurm import SlurmExecutor

cluster, options = sys.argv[1], sys.argv[2:]
executors.make_executor = lambda name, *, workers, scratch, **_: SlurmExecutor(2, folder=scratch, cluster=cluster)
sys.exit(main(options))
"""


@pytest.fixture
def grid_file(tmp_path) -> Path:
    file = tmp_path / "study.yaml"
    file.write_text(GRID)
    return file


def options(grid_file: Path, *more: str) -> list[str]:
    settings = ["--set", *LONGER[:2], *LONGER[2:], *more]
    return ["--grid", str(grid_file), "--output", str(grid_file.parent / "runs"), *settings]


def python(script: str, *arguments: str, **more) -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[2]
    paths = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])  # the extras may lie elsewhere
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "RAY_DEDUP_LOGS": "0"}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=environment, cwd=root, **more)


def same_as_local(grid_file: Path) -> None:
    local = ablate(grid_file, "--set", *LONGER[:2], output=grid_file.parent / "local")
    assert local.returncode == 0, local.stderr
    assert results(grid_file.parent / "runs" / "study") == results(grid_file.parent / "local" / "study")


def test_a_ray_cluster_that_loses_a_node_finishes_the_grid(grid_file):
    pytest.importorskip("ray", reason="needs the extra 'ray'")
    root = grid_file.parent / "runs" / "study"
    process = python(RAY, str(root), *options(grid_file, "--executor", "ray"))
    out, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors
    assert "node killed" in out
    assert "nodes alive: 1" in out
    assert "4 of 4 runs are done" in out
    logs = "".join(run.log_file.read_text() for run in find_runs(root))
    assert "training from checkpoint-" in logs  # what the lost node did was gone on with
    assert max(times_trained(root).values()) == 1
    same_as_local(grid_file)


def test_submitit_runs_a_grid_in_this_process(grid_file):
    pytest.importorskip("submitit", reason="needs the extra 'slurm'")
    process = python(SLURM, "debug", *options(grid_file, "--set", "steps=2", "--executor", "slurm"))
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert "4 of 4 runs are done" in out


def test_a_preempted_job_is_requeued_and_goes_on(grid_file):
    pytest.importorskip("submitit", reason="needs the extra 'slurm'")
    root = grid_file.parent / "runs" / "study"
    process = python(SLURM, "local", *options(grid_file, "--set", "seeds=[0]", "--executor", "slurm"))
    end = time.monotonic() + 300
    while not (saved := list(root.glob("*/resume/*/COMPLETE"))):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.1)
    lock = saved[0].parents[2] / "lock"
    pid = int(lock.read_text().split('"pid": ')[1].rstrip("}"))
    os.kill(pid, signal.SIGUSR2)  # what Slurm sends before it takes the node away
    out, errors = process.communicate(timeout=600)
    print(out[-2000:], errors[-2000:])
    assert process.returncode == 0, errors
    assert "2 of 2 runs are done" in out
    assert "training from checkpoint-" in (lock.parent / "log.txt").read_text()
    assert max(times_trained(root).values()) == 1
