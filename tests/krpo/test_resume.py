"""A run that is killed outright, again and again, ends with the files of one that was left alone."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from krpo.config import Named
from krpo.errors import BadInput
from krpo.resume import COMPLETE, KeepNewest, last_complete, load_optimizer, save_optimizer
from krpo.rundir import RunDir
from krpo.spec import RunSpec
from krpo.train import train

fork = multiprocessing.get_context("fork")


def files(run: RunDir) -> dict[str, Any]:
    """Everything that a run computes, wall times aside."""
    found: dict[str, Any] = {p.name: p.read_bytes() for p in sorted(run.checkpoint.iterdir())}
    for file in (run.metrics_file, run.held_out_file):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        found[file.name] = [{k: v for k, v in row.items() if k != "wall"} for row in rows]
    found["spec"] = run.spec_file.read_bytes()
    return found


def in_a_child(spec: RunSpec, path: Path, save_every: int) -> multiprocessing.process.BaseProcess:
    """Forked, so that a start costs no import; the fork is the one to be killed."""

    def body() -> None:
        log = os.open(path.parent / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        torch.set_num_threads(1)
        train(spec, path, save_every=save_every, held_out_every=10)
        os._exit(0)

    process = fork.Process(target=body)
    process.start()
    return process


def killed_again_and_again(spec: RunSpec, path: Path, *, kills: int, save_every: int, start_up: float) -> int:
    """Start the run and kill it, as often as asked; then let it end. Returns how many kills hit.

    Kill k falls soon after a step of its own, or at a random moment of the start before it: moments follow the run's
    progress, so that the run cannot end before the last one, however fast the machine is meanwhile.
    """
    rng = random.Random(0)
    steps = sorted(rng.sample(range(spec.steps - 3), kills))
    hits = 0
    for step in steps:
        process = in_a_child(spec, path, save_every)
        started = time.monotonic()
        until = started + rng.uniform(0, start_up) if rng.random() < 0.25 else math.inf
        while process.is_alive() and time.monotonic() < until and steps_written(path) <= step:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.02))  # in the middle of a step, or of a save
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            hits += 1
        process.join()
    process = in_a_child(spec, path, save_every)
    process.join()
    assert process.exitcode == 0, (path.parent / "log.txt").read_text()[-2000:]
    return hits


def steps_written(path: Path) -> int:
    file = RunDir(path).metrics_file
    return file.read_bytes().count(b"\n") if file.exists() else 0


def compare(tmp_path: Path, *, steps: int, kills: int, save_every: int) -> None:
    spec = RunSpec(
        steps=steps, prompts_per_step=3, group_size=4, lr_schedule="cosine", warmup_steps=5, seed=5,
        estimator=Named("krpo"), noise=Named("flip", {"rate": 0.2}),
    )  # fmt: skip
    for name in ("alone", "killed"):
        (tmp_path / name).mkdir()
    alone = RunDir(tmp_path / "alone" / "run")
    start = time.monotonic()
    process = in_a_child(spec, alone.path, save_every)
    while not alone.metrics_file.exists() and process.is_alive():
        time.sleep(0.01)
    start_up = time.monotonic() - start
    process.join()
    hits = killed_again_and_again(
        spec, tmp_path / "killed" / "run", kills=kills, save_every=save_every, start_up=start_up
    )
    assert hits == kills
    assert files(RunDir(tmp_path / "killed" / "run")) == files(RunDir(tmp_path / "alone" / "run"))


def test_three_kills(tmp_path):
    compare(tmp_path, steps=20, kills=3, save_every=4)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_over_sixty_steps(tmp_path):
    compare(tmp_path, steps=60, kills=20, save_every=3)


def test_a_run_stopped_between_its_last_step_and_its_checkpoint(tmp_path, monkeypatch):
    import krpo.train

    class Stopped(BaseException):
        pass

    def stop(*_):
        raise Stopped

    spec = RunSpec(steps=3, prompts_per_step=3, group_size=4)
    alone = train(spec, tmp_path / "alone", save_every=1, held_out_every=3)
    with monkeypatch.context() as patch:
        patch.setattr(krpo.train, "save_checkpoint", stop)
        with pytest.raises(Stopped):
            train(spec, tmp_path / "stopped", save_every=1, held_out_every=3)
    assert files(train(spec, tmp_path / "stopped", save_every=1, held_out_every=3)) == files(alone)


def test_a_torn_checkpoint_is_not_used(tmp_path):
    for step, complete in ((2, True), (10, True), (12, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if complete:
            (folder / COMPLETE).touch()
    assert last_complete(tmp_path) == tmp_path / "checkpoint-10"
    assert last_complete(tmp_path / "none") is None
    KeepNewest().on_save(SimpleNamespace(output_dir=str(tmp_path), should_save=False))  # not the first process
    assert len(list(tmp_path.iterdir())) == 3
    KeepNewest().on_save(SimpleNamespace(output_dir=str(tmp_path), should_save=True))
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint-10"]


def test_a_script_of_its_own_keeps_the_checkpoints_that_trl_keeps(tmp_path):
    from datasets import Dataset

    from krpo.policies import load_policy
    from krpo.trainer import KRPOConfig, KRPOTrainer

    model, tokenizer = load_policy("tiny")
    args = KRPOConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", max_steps=3, save_steps=1,
        per_device_train_batch_size=4, num_generations=4, max_completion_length=8, disable_tqdm=True,
    )  # fmt: skip
    rows = Dataset.from_list([{"prompt": f"{a}+3="} for a in range(2, 8)])
    KRPOTrainer(
        model, reward_funcs=lambda completions, **_: [float(len(c)) for c in completions], args=args,
        train_dataset=rows, processing_class=tokenizer,
    ).train()  # fmt: skip
    assert {p.name for p in tmp_path.glob("checkpoint-*")} == {f"checkpoint-{step}" for step in (1, 2, 3)}


def test_adam_and_its_schedule_come_back_to_the_last_bit(tmp_path):
    def fresh():
        torch.manual_seed(0)
        layer = torch.nn.Linear(5, 3)
        optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-3)
        return layer, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)

    def steps(layer, optimizer, scheduler, count, first):
        for i in range(first, first + count):
            x = torch.randn(4, 5, generator=torch.Generator().manual_seed(i))
            optimizer.zero_grad()
            layer(x).square().mean().backward()
            optimizer.step()
            scheduler.step()

    undisturbed = fresh()
    steps(*undisturbed, 9, 0)
    first = fresh()
    steps(*first, 4, 0)
    save_optimizer(first[1], first[2], tmp_path)
    second = fresh()
    second[0].load_state_dict(first[0].state_dict())
    load_optimizer(second[1], second[2], tmp_path)
    steps(*second, 5, 4)
    for ours, theirs in zip(second[0].parameters(), undisturbed[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert not list(tmp_path.glob("*.pt"))


def test_a_state_of_another_run_is_refused(tmp_path):
    class Stopped(BaseException):
        pass

    def stop(row):
        if row["step"] == 2:
            raise Stopped

    spec = {"steps": 4, "prompts_per_step": 3, "group_size": 4}
    with pytest.raises(Stopped):
        train(RunSpec(**spec), tmp_path / "run", progress=stop, save_every=1)
    with pytest.raises(BadInput, match="holds another run"):
        train(RunSpec(**spec, learning_rate=2e-4), tmp_path / "run", save_every=1)
    assert last_complete(tmp_path / "run" / "resume") is not None
