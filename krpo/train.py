"""One training run: a `RunSpec` becomes a run directory.

policy + task -> KRPOTrainer -> metrics.jsonl, checkpoint/, manifest.json, DONE
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from datasets import Dataset
from transformers import PrinterCallback
from transformers.utils import logging as transformers_logging

from krpo.cost import check_devices
from krpo.errors import BadInput, KrpoError, reason_of
from krpo.launch import ALONE, Processes, join
from krpo.metrics import MetricsWriter, Progress
from krpo.policies import load_policy, weights_hash
from krpo.provenance import git_state, machine, package_versions, peak_memory
from krpo.resume import KeepNewest, cut_metrics, last_complete, optimizer_steps
from krpo.rewards import TaskReward, dataset_rows
from krpo.rundir import RunDir, write_json, write_yaml
from krpo.spec import FORMAT, RunSpec, run_key
from krpo.tasks import Row, Task, make_task
from krpo.trainer import KRPOConfig, KRPOTrainer

HELD_OUT_QUESTIONS = 96


def key_of(spec: RunSpec, task: Task | None = None) -> str:
    """The key of a specification: also covers the base weights and the task's data."""
    return run_key(spec, base_weights=weights_hash(spec.policy), data=(task or make_task(spec.task)).fingerprint())


def train(
    spec: RunSpec,
    path: str | Path,
    *,
    progress: Progress | None = None,
    save_every: int | None = None,
    held_out_every: int | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    tracker: str | None = None,
) -> RunDir:
    """Train one run into the directory ``path`` and return it.

    A directory that is DONE with the same key is left as it is; a run that was stopped goes on from its last saved
    state, and ends with the same bytes as one that was never stopped. Where a launcher started several processes (DDP),
    all of them call this with the same arguments; they share each batch, and the first one writes.

    Args:
        spec: what to run.
        path: the run directory.
        progress: called with each row of `metrics.jsonl`.
        save_every: rollout batches between two saved states; None saves none, so that a stopped run starts again.
        held_out_every: rollout batches between two points of the held-out curve (`heldout.jsonl`); None draws none.
        device: where to train; ``auto`` takes a GPU where there is one.
        tracker: also log to a tracker that transformers knows (tensorboard, wandb, ...), where it is installed.

    Raises:
        BadInput: the specification cannot be run.
        KrpoError: training failed; the reason is in FAILED.
    """
    task = make_task(spec.task)
    run = RunDir(path)
    key = key_of(spec, task)
    if run.status() == "done" and run.spec().get("key") == key:
        return run
    if run.status() != "missing" and run.spec().get("key") not in (None, key):
        raise BadInput(
            f"{run.path}: holds another run (key {run.spec().get('key')}, asked for {key}); choose another --output"
        )
    if missing := check_devices(spec, device):
        raise BadInput("; ".join(missing))
    if tracker is not None:
        _check_tracker(tracker)
    processes = join(cpu=device == "cpu" or not torch.cuda.is_available())
    with quiet():
        args = trainer_config(
            spec, run.resume, save_every, held_out_every, cpu=device == "cpu", tracker=tracker, processes=processes
        )
    if processes.is_main:
        _prepare(run, spec, key)
    processes.wait()
    saved = last_complete(run.resume)
    started = time.time()
    try:
        trainer = _trainer(spec, task, run, args, progress)
        with quiet():
            trainer.train(resume_from_checkpoint=str(saved) if saved else None)
            if processes.is_main:
                save_checkpoint(trainer, spec, key, run.checkpoint)
        manifest = {
            "key": key,
            "git": git_state(),
            "packages": package_versions(),
            "base_weights": weights_hash(spec.policy),
            "data": task.fingerprint(),
            "seed": spec.seed,
            **({"processes": processes.count} if processes.count > 1 else {}),
            "wall": {
                "started": started,
                "seconds": time.time() - started,
                **peak_memory(),
                **machine(),
            },
        }
        if processes.is_main:
            write_json(run.manifest_file, manifest)
    except Exception as error:
        with contextlib.suppress(OSError):  # a full disk must not hide the reason
            run.mark_failed(reason_of(error))
            if isinstance(error, KrpoError):  # it would fail again from its saved state
                shutil.rmtree(run.resume, ignore_errors=True)
        raise
    if processes.is_main:
        run.mark_done(steps=spec.steps)
        shutil.rmtree(run.resume, ignore_errors=True)
    processes.wait()
    return run


def _prepare(run: RunDir, spec: RunSpec, key: str) -> None:
    """Make a run's directory ready: empty with its specification, or cut back to its last saved state."""
    run.path.mkdir(parents=True, exist_ok=True)
    saved = last_complete(run.resume)
    if saved is None:
        run.clear()
        write_yaml(run.spec_file, {"key": key, "format": FORMAT, **spec.to_plain()})
    else:
        for file in (run.metrics_file, run.held_out_file):
            cut_metrics(file, optimizer_steps(saved) // spec.minibatches)


def save_checkpoint(trainer: KRPOTrainer, spec: RunSpec, key: str, folder: Path) -> None:
    """A plain Hugging Face folder (safetensors) with the tokenizer and krpo.json, written whole or not at all."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model = trainer.accelerator.unwrap_model(trainer.model)
    if spec.lora_rank:  # a checkpoint is a whole model, which any tool loads
        model = model.merge_and_unload()
    model.save_pretrained(temporary, safe_serialization=True)
    tokenizer = trainer.processing_class
    if backend := getattr(tokenizer, "backend_tokenizer", None):  # what it padded last is no part of a checkpoint
        backend.no_padding()
        backend.no_truncation()
    tokenizer.save_pretrained(temporary)
    write_json(temporary / "krpo.json", {"key": key, "spec": spec.to_plain(), "step": trainer.state.global_step})
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)


def _trainer(
    spec: RunSpec,
    task: Task,
    run: RunDir,
    args: KRPOConfig,
    progress: Progress | None,
) -> KRPOTrainer:
    with quiet():
        model, tokenizer = load_policy(spec.policy, dtype=spec.dtype)
    rows = task.train_rows(spec.seed, spec.steps * spec.prompts_per_step)
    style = {"instruct": task.instruct, "chat": bool(tokenizer.chat_template)}
    held_out = Dataset.from_list(dataset_rows(held_out_rows(task), **style)) if args.do_eval else None
    reward = TaskReward(task)
    with quiet():
        trainer = KRPOTrainer(
            model=model,
            reward_funcs=reward.functions(),
            args=args,
            train_dataset=Dataset.from_list(dataset_rows(rows, **style)),
            eval_dataset=held_out,
            processing_class=tokenizer,
            callbacks=[MetricsWriter(run.metrics_file, run.held_out_file, progress), KeepNewest()],
            peft_config=_lora(spec.lora_rank),
        )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _check_tracker(name: str) -> None:
    """Raise `BadInput` for a tracker that transformers does not know or that is not installed."""
    from transformers.integrations import get_reporting_integration_callbacks

    try:
        for callback in get_reporting_integration_callbacks([name]):
            callback()
    except (ImportError, RuntimeError, ValueError) as error:
        raise BadInput(f"--tracker {name}: {error}") from None


def _lora(rank: int) -> Any:
    """A LoRA adapter on all linear layers, or None for rank 0."""
    if rank == 0:
        return None
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")


def held_out_rows(task: Task) -> list[Row]:
    """The questions of the held-out curve: at most `HELD_OUT_QUESTIONS`, the same number of each level."""
    rows = task.eval_rows()
    share = HELD_OUT_QUESTIONS // max(1, len(task.levels))
    by_level = [[row for row in rows if row.level == level][:share] for level in task.levels]
    return [row for level in by_level for row in level]


def trainer_config(
    spec: RunSpec,
    output_dir: Path,
    save_every: int | None = None,
    held_out_every: int | None = None,
    *,
    cpu: bool = False,
    tracker: str | None = None,
    processes: Processes = ALONE,
) -> KRPOConfig:
    """The specification in TRL's terms. One rollout batch of P x G answers is `minibatches` optimizer steps.

    Raises `BadInput` where the processes cannot share the answers of an optimizer step evenly.
    """
    answers = spec.prompts_per_step * spec.group_size // spec.minibatches
    schedule = "constant_with_warmup" if spec.lr_schedule == "constant" and spec.warmup_steps else spec.lr_schedule
    return KRPOConfig(
        output_dir=str(output_dir),
        advantage_estimator=spec.estimator.name,
        advantage_params=dict(spec.estimator.params) or None,
        reward_noise=spec.noise.name,
        reward_noise_params=dict(spec.noise.params) or None,
        reward_weights=TaskReward.weights(spec.reward),
        seed=spec.seed,
        max_steps=spec.steps * spec.minibatches,
        per_device_train_batch_size=processes.share("prompts_per_step x group_size / minibatches", answers),
        steps_per_generation=spec.minibatches,
        num_generations=spec.group_size,
        gradient_accumulation_steps=1,
        learning_rate=spec.learning_rate,
        lr_scheduler_type=schedule,
        warmup_steps=spec.warmup_steps,
        beta=spec.kl_weight,
        epsilon=spec.clip,
        max_grad_norm=spec.max_grad_norm,
        loss_type=spec.loss_type,
        temperature=spec.temperature,
        max_completion_length=spec.max_completion_length,
        mask_truncated_completions=spec.mask_truncated,
        shuffle_dataset=False,  # the task's rows come in the order of the run's own data stream
        bf16=spec.dtype == "bfloat16",
        use_cpu=cpu or not torch.cuda.is_available(),
        gradient_checkpointing=spec.gradient_checkpointing,
        use_vllm=spec.rollout != "generate",
        vllm_mode="server" if spec.rollout == "vllm_server" else "colocate",
        logging_steps=spec.minibatches,
        logging_nan_inf_filter=False,
        save_strategy="steps" if save_every else "no",
        save_steps=(save_every or 1) * spec.minibatches,
        eval_strategy="steps" if held_out_every else "no",
        eval_steps=(held_out_every or 1) * spec.minibatches,
        # One batch: TRL averages over batches, whatever their size.
        per_device_eval_batch_size=math.ceil(HELD_OUT_QUESTIONS / processes.count),
        num_generations_eval=1,
        report_to=tracker or "none",
        disable_tqdm=True,
        log_level="error",
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """TRL and transformers say much that is no news here (defaults, padding, missing trackers)."""
    before = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(before)
        transformers_logging.enable_progress_bar()
