"""Rollout batches of a frozen policy, drawn by the trainer itself: what a probe measures is what training would sample.

A batch holds ``answers`` answers to each prompt. Batches are independent: each has its own seed, derived from (seed,
kind, number), so that a batch can be drawn again alone. "batch" is what the estimators are measured on, "reference"
gives the pass rates and the reference gradient.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file

from krpo.advantages import AdvantageEstimator, Batch
from krpo.errors import KrpoError
from krpo.policies import load_policy
from krpo.probe.gradients import AnswerGradients
from krpo.probe.spec import ProbeSpec
from krpo.rewards import TaskReward, dataset_rows
from krpo.streams import derive_seed
from krpo.tasks import make_task
from krpo.train import quiet, trainer_config
from krpo.trainer import KRPOTrainer

Kind = Literal["batch", "reference"]


@dataclass(frozen=True)
class Rollouts:
    """One batch: G answers to each of P prompts, U of them different."""

    rewards_PG: torch.Tensor
    correct_PG: torch.Tensor
    partial_credit_PG: torch.Tensor
    lengths_PG: torch.Tensor
    gradients_Uk: torch.Tensor
    index_PG: torch.Tensor
    greedy_rewards_P: torch.Tensor  # a frozen policy's greedy answer never changes: in batch 0 only, else empty

    def save(self, file: Path) -> None:
        """Written whole or not at all."""
        temporary = file.with_name(f".{file.name}.tmp")
        save_file({f.name: getattr(self, f.name).contiguous() for f in fields(self)}, temporary)
        os.replace(temporary, file)

    @classmethod
    def load(cls, file: Path) -> Rollouts:
        return cls(**load_file(file))


class Recorder(AdvantageEstimator):
    """Stands in the place of the trainer's estimator and keeps what an estimator may see."""

    name = "recorder"

    def __init__(self) -> None:
        self.greedy(False)
        self.batch: Batch | None = None

    def greedy(self, wanted: bool) -> None:
        """Whether a greedy answer to each prompt is asked for."""
        always = ("prompt_ids_P", "lengths_PG", "correct_PG", "partial_credit_PG")
        self.extras = (*always, "greedy_rewards_P") if wanted else always

    def compute(self, batch: Batch) -> torch.Tensor:
        self.batch = batch
        return torch.zeros_like(batch.rewards_PG)


class FrozenPolicy:
    """The trainer of a run that is never trained: it samples, scores and differentiates."""

    def __init__(self, spec: ProbeSpec, folder: Path, device: str = "auto") -> None:
        run, task = spec.rollout_spec(), make_task(spec.task)
        with quiet():
            model, tokenizer = load_policy(run.policy, dtype=run.dtype)
        rows = dataset_rows(
            task.train_rows(run.seed, spec.prompts), instruct=task.instruct, chat=bool(tokenizer.chat_template)
        )
        reward = TaskReward(task)
        with quiet():
            self.trainer = KRPOTrainer(
                model=model,
                reward_funcs=reward.functions(),
                args=trainer_config(run, folder, cpu=device == "cpu"),
                train_dataset=Dataset.from_list(rows),
                processing_class=tokenizer,
            )
        self.trainer.model.train()
        self.trainer.estimator = self.recorder = Recorder()
        self.seed = spec.seed
        self.inputs = [row for row in rows for _ in range(spec.answers)]
        self.gradients = AnswerGradients(self.trainer, spec.sketch, spec.seed)

    def draw(self, kind: Kind, number: int) -> Rollouts:
        """A batch, from its own seed. Raises `KrpoError` where an answer cannot be scored."""
        trainer: Any = self.trainer
        self.recorder.greedy(kind == "batch" and number == 0)
        trainer.args.seed = derive_seed(self.seed, "probe", kind, bits=31)
        trainer.state.global_step = number
        with quiet():
            output = trainer._generate_and_score_completions(self.inputs)
        batch = self.recorder.batch
        assert batch is not None
        if not batch.complete:
            raise KrpoError(f"{kind} {number}: an answer could not be scored; a probe needs a reward for each")
        gradients_Uk, index_B = self.gradients(output)
        return Rollouts(
            rewards_PG=batch.rewards_PG.cpu(),
            correct_PG=batch.extras["correct_PG"].cpu(),
            partial_credit_PG=batch.extras["partial_credit_PG"].cpu(),
            lengths_PG=output["completion_mask"].sum(dim=1).view(batch.shape).cpu(),
            gradients_Uk=gradients_Uk,
            index_PG=index_B.view(batch.shape),
            greedy_rewards_P=batch.extras.get("greedy_rewards_P", torch.empty(0)).cpu(),
        )
