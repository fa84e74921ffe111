"""Two processes (gloo): the advantages and, to float tolerance, the weights of one; `krpo-train` with a launcher."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from krpo.errors import BadInput
from krpo.launch import Processes
from krpo.resume import last_complete
from krpo.rundir import RunDir, read_json, read_jsonl
from krpo.spec import RunSpec
from krpo.train import train, trainer_config

SCRIPT = '''
import hashlib, sys
import torch
from datasets import Dataset
from safetensors.torch import save_file
from krpo.policies import load_policy
from krpo.trainer import KRPOConfig, KRPOTrainer

P, G, steps, out, name = 3, 4, 3, sys.argv[1], sys.argv[2]
processes = int(sys.argv[3])
model, tokenizer = load_policy("tiny")
seen = []


def rollout(prompts, trainer):
    """Answers that depend on their place in the whole batch alone, not on how it is split over processes."""
    first = trainer.accelerator.process_index * len(prompts)
    answers = []
    for place, prompt in enumerate(prompts, first):
        digest = hashlib.sha256(f"{trainer.state.global_step} {place} {prompt}".encode()).digest()
        answers.append(tokenizer(f"<think>{digest[0] % 90}</think><answer>{digest[1] % 90}</answer>").input_ids)
    logprobs = [[0.0] * len(ids) for ids in answers]
    return {"prompt_ids": tokenizer(prompts).input_ids, "completion_ids": answers, "logprobs": logprobs}


def reward(completions, **_):
    return [float(len(set(text)) % 3) for text in completions]


class Recorder(KRPOTrainer):
    def _advantages(self, *given):
        seen.append(super()._advantages(*given))
        return seen[-1]


args = KRPOConfig(
    output_dir=out, use_cpu=True, bf16=False, report_to="none", save_strategy="no", max_steps=steps, logging_steps=1,
    per_device_train_batch_size=P * G // processes, num_generations=G, gradient_checkpointing=False, disable_tqdm=True,
    advantage_estimator="krpo", reward_noise="gaussian", reward_noise_params={"sigma": 0.2}, learning_rate=1e-3,
    shuffle_dataset=False, loss_type="grpo", beta=0.0,
)
rows = [{"prompt": f"{a}+{b}="} for a in range(2, 8) for b in range(3, 6)]
trainer = Recorder(
    model, reward_funcs=reward, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
    rollout_func=rollout,
)
assert trainer.accelerator.num_processes == processes
trainer.train()
if trainer.accelerator.is_main_process:
    state = {k: v.contiguous() for k, v in trainer.accelerator.unwrap_model(trainer.model).state_dict().items()}
    state.pop("lm_head.weight", None)
    save_file({**state, "advantages": torch.stack(seen)}, f"{out}/{name}.safetensors")
'''


def run(tmp_path: Path, processes: int) -> dict[str, torch.Tensor]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    name = f"with{processes}"
    command = [sys.executable, *launch, str(script), str(tmp_path), name, str(processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return load_file(tmp_path / f"{name}.safetensors")


@pytest.mark.timeout(600)
def test_two_processes_equal_one(tmp_path):
    one, two = run(tmp_path, 1), run(tmp_path, 2)
    advantages = one.pop("advantages")
    assert advantages.shape == (3, 12)
    assert (advantages != 0).any()
    assert torch.equal(advantages, two.pop("advantages"))
    assert one.keys() == two.keys()
    for name, weights in one.items():
        torch.testing.assert_close(two[name], weights, rtol=1e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")


COMMAND = [
    *(
        "-m",
        "krpo.cli",
        "--steps",
        "6",
        "--prompts-per-step",
        "3",
        "--group-size",
        "4",
        "--max-completion-length",
        "24",
    ),
    *("--device", "cpu", "--save-every", "2", "--held-out-every", "3", "--quiet", "--output"),
]


def launch(output: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *COMMAND]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen([*command, str(output)], text=True, stdout=pipe, stderr=pipe, env=environment)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_launched_run_that_is_killed_ends_with_the_bytes_of_one_that_is_not(tmp_path):
    alone, killed = RunDir(tmp_path / "alone"), RunDir(tmp_path / "killed")
    first = launch(alone.path)
    out, said = first.communicate(timeout=200)
    assert first.returncode == 0, said[-3000:]
    assert out == f"checkpoint: {alone.checkpoint}\n"  # one process speaks
    assert [row["step"] for row in alone.metrics()] == [1, 2, 3, 4, 5, 6]
    assert alone.status() == "done"
    assert read_json(alone.manifest_file)["processes"] == 2

    process = launch(killed.path)
    while process.poll() is None and not (len(killed.metrics()) >= 3 and last_complete(killed.resume)):
        time.sleep(0.01)
    assert process.poll() is None
    launcher = psutil.Process(process.pid)
    for one in [*launcher.children(recursive=True), launcher]:  # the launcher's end would leave its processes training
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.communicate()
    assert killed.status() == "running"
    again = launch(killed.path)
    _, said = again.communicate(timeout=200)
    assert again.returncode == 0, said[-3000:]
    for file in ("metrics.jsonl", "heldout.jsonl"):
        rows = [[{**row, "wall": None} for row in read_jsonl(run.path / file)] for run in (alone, killed)]
        assert rows[0] == rows[1]
    weights = [(run.checkpoint / "model.safetensors").read_bytes() for run in (alone, killed)]
    assert weights[0] == weights[1]


def test_a_launch_that_cannot_be(tmp_path, monkeypatch):
    with pytest.raises(BadInput, match="group_size / minibatches is 5, which 2 processes cannot share evenly"):
        trainer_config(RunSpec(prompts_per_step=1, group_size=5), tmp_path, processes=Processes(0, 2))
    with monkeypatch.context() as patch:
        patch.setattr("krpo.train.join", lambda cpu: Processes(0, 2))
        with pytest.raises(BadInput, match="2 processes cannot share"):
            train(RunSpec(prompts_per_step=1, group_size=5), tmp_path / "run")
    assert not (tmp_path / "run").exists()  # nothing is marked as failed
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(BadInput, match="the launcher asks for FSDP, and krpo-train knows one process or DDP only"):
        train(RunSpec(steps=1), tmp_path / "run")
    assert not (tmp_path / "run").exists()
