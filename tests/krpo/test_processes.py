"""Two processes (gloo) give the advantages and, to float tolerance, the weights of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

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
