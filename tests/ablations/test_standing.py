"""Locks, the state of a run, `--status`, `--explain`, `--only`; all without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ablations import explain, status
from ablations.cli import main
from ablations.grid import load_grid
from ablations.listing import lines
from ablations.lock import RunLock, holder
from ablations.plan import Cell, evaluation_key, label, make_plan, select, varied_settings
from ablations.standing import standing
from eval.spec import EvalSpec
from krpo.errors import BadInput
from krpo.rundir import RunDir, write_json, write_yaml

KEY = evaluation_key(EvalSpec(tasks=("sums",)))
HOLD = """\
import sys, time
from pathlib import Path
from ablations.lock import RunLock
with RunLock(Path(sys.argv[1])) as held:
    print(held, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def held(tmp_path):
    """A directory that another process works in, and that process."""
    folder = tmp_path / "held"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "True"
    yield folder, process
    process.kill()
    process.wait()


def test_a_lock_keeps_others_out_and_goes_with_its_process(held):
    folder, process = held
    with RunLock(folder) as mine:
        assert not mine
    found = holder(folder)
    assert found is not None
    assert found["pid"] == process.pid
    process.kill()
    process.wait()
    assert holder(folder) is None
    with RunLock(folder) as mine:
        assert mine


def test_every_state_of_a_run(tmp_path, held):
    run = RunDir(tmp_path / "run")
    assert standing(run, KEY).state == "missing"
    write_yaml(run.spec_file, {"key": "x"})
    run.metrics_file.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert (standing(run, KEY).state, standing(run, KEY).detail) == ("stale", "stopped after step 2")
    run.mark_failed("killed by SIGKILL", retry=True)
    assert (standing(run, KEY).state, standing(run, KEY).detail) == ("stale", "killed by SIGKILL")
    run.mark_failed("the loss is not a number")
    assert (standing(run, KEY).state, standing(run, KEY).detail) == ("failed", "the loss is not a number")
    run.failed_file.write_text('{"reas')  # torn: tried again
    assert standing(run, KEY).state == "stale"
    run.mark_done(steps=2)
    assert standing(run, KEY).detail == "trained, not evaluated"
    run.mark_done(steps=2, evaluation="another")
    assert standing(run, KEY).detail == "trained, evaluated otherwise"
    run.mark_done(steps=2, evaluation=KEY, scores={"sums": 0.5}, wall={"seconds": 3.0, "bytes": 10})
    found = standing(run, KEY)
    assert (found.state, found.seconds, found.bytes, found.scores) == ("done", 3.0, 10, {"sums": 0.5})
    run.done_file.write_text('{"evalu')
    assert standing(run, KEY).state == "stale"
    folder, process = held
    assert standing(RunDir(folder), KEY).state == "running"
    assert f"process {process.pid}" in standing(RunDir(folder), KEY).detail


def stored_grid(root: Path, runs: dict[str, dict | None]) -> None:
    rows = [{"key": key, "label": f"label of {key}", "steps": 10} for key in runs]
    write_json(root / "plan.json", {"format": 1, "evaluation": KEY, "weights": {}, "data": {}, "runs": rows})
    for key, done in runs.items():
        if done is not None:
            write_json(root / key / "DONE", done)


def test_status_needs_nothing_but_the_directory(tmp_path, held, capsys):
    root = held[0].parent
    done = {"evaluation": KEY, "wall": {"seconds": 1800, "bytes": 1}}
    stored_grid(root, {"a": done, "b": done, "held": None, "c": None})
    RunDir(root / "d").mark_failed("out of memory: killed by the kernel")
    (root / "held" / "metrics.jsonl").write_text('{"step": 7}\n')
    plan = json.loads((root / "plan.json").read_text())
    plan["runs"].append({"key": "d", "label": "label of d", "steps": 10})
    write_json(root / "plan.json", plan)
    assert main(["--status", str(root)]) == 0
    out = capsys.readouterr().out
    assert "5 runs: 2 done, 1 running, 1 failed, 1 missing" in out
    assert "running  held  label of held: step 7 of 10, process" in out
    assert "failed   d  label of d: out of memory: killed by the kernel" in out
    assert "about 1.0 hours left with 1 at a time, at 1800 seconds a run" in out
    with pytest.raises(BadInput, match="no grid was run here; it holds the grids"):
        status.lines(tmp_path.parent)


def test_explain_names_the_fields_that_differ(tmp_path, capsys):
    spec = {"format": 1, "estimator": {"name": "krpo", "process_variance": 0.1}, "steps": 5, "seed": 0}
    facts = {"base_weights": "w", "data": "d", "packages": {"torch": "2.13"}}
    for name, changes, more in (
        ("a", {}, {}),
        ("b", {"steps": 6, "seed": 0.0}, {"base_weights": "v"}),
        ("c", {"key": "other"}, {"packages": {"torch": "2.12"}}),
    ):
        write_yaml(tmp_path / name / "spec.yaml", {"key": name, **spec, **changes})
        write_json(tmp_path / name / "manifest.json", facts | more)
    found = explain.explain(tmp_path / "a", tmp_path / "b")
    assert [(d.field, d.a, d.b, d.in_key) for d in found] == [("spec.steps", 5, 6, True), ("weights", "w", "v", True)]
    assert main(["--explain", str(tmp_path / "a"), str(tmp_path / "c")]) == 0
    out = capsys.readouterr().out
    assert "nothing that is part of a run's key differs" in out
    assert "packages.torch: 2.13 -> 2.12" in out
    assert main(["--explain", str(tmp_path / "a"), str(tmp_path / "nothing")]) == 2
    assert "is no run directory" in capsys.readouterr().err


def cells_of(tmp_path: Path, text: str) -> list[Cell]:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    grid = load_grid(file)
    varied = varied_settings(grid.specs)
    return [Cell(s, RunDir(tmp_path / str(i)), grid.evaluation, label(s, varied)) for i, s in enumerate(grid.specs)]


def test_only_selects_by_name_label_and_number(tmp_path):
    text = (
        "base: {steps: 5}\nseeds: [0, 1]\naxes:\n  estimator: [grpo, krpo]\n  learning_rate: [1.0e-4, 1.0e-3]\n"
        "  noise: [none, {name: flip, rate: 0.2}, {name: flip, rate: 0.4}]\n"
    )
    cells = cells_of(tmp_path, text)
    assert len(cells) == 24
    assert cells[-1].label == "krpo, flip(rate=0.4), learning rate 0.001, seed 1"
    assert len(select(cells, ["noise=flip"])) == 16
    assert len(select(cells, ["noise=flip(rate=0.2)", "noise=none", "seed=1"])) == 8
    assert len(select(cells, ["learning_rate=1e-3", "estimator=krpo"])) == 6
    with pytest.raises(BadInput, match="did you mean krpo"):
        select(cells, ["estimator=kpro"])
    with pytest.raises(BadInput, match="did you mean estimator"):
        select(cells, ["estimater=krpo"])


def test_an_evaluation_key_covers_what_was_asked_and_nothing_else():
    assert evaluation_key(EvalSpec(tasks=("sums",), samples=1, batch_size=256)) == KEY  # defaults, spelled out
    assert evaluation_key(EvalSpec(tasks=("sums",), data_dir="somewhere")) == KEY
    others = [EvalSpec(tasks=("arithmetic",)), EvalSpec(tasks=("sums",), limit=5), EvalSpec(tasks=("sums",), seed=1)]
    assert len({KEY, *map(evaluation_key, others)}) == 4


def test_a_plan_counts_failed_runs_when_they_will_be_run_again(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("base: {steps: 5}\nseeds: [0, 1, 2]\n")
    plan = make_plan(load_grid(file), tmp_path)
    plan.cells[1].run.mark_failed("the loss is not a number")
    left_out = list(lines(plan, plan.cells, 2, measure=False))
    assert any(line.startswith("1 failed: no part of the cost; --retry-failed") for line in left_out)
    assert left_out[-1].startswith("cost: 2 runs to do")
    assert list(lines(plan, plan.cells, 2, measure=False, retry_failed=True))[-1].startswith("cost: 3 runs to do")
