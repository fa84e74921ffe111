"""What a stopped run needs to go on as if it had never stopped, without unpickling anything.

```
<run>/resume/checkpoint-<optimizer step>/
    model.safetensors, config.json, ...   the policy
    optimizer.safetensors                 Adam's moments, by parameter index
    optimizer.json                        its hyper-parameters and the scheduler's state
    trainer_state.json                    the step (written by transformers)
    advantage_estimator.json              the estimator's state
    COMPLETE                              written last: a folder without it is not used
```

No state of a random generator is here: rollouts are seeded anew at every step (`krpo.trainer`), and the other streams
keep no state at all.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from krpo.rundir import read_json, read_jsonl, write_json, write_jsonl, write_text

COMPLETE = "COMPLETE"


def save_optimizer(optimizer: Any, scheduler: Any, folder: Path) -> None:
    """Write an optimizer's and a scheduler's state: tensors as safetensors, the rest as JSON."""
    state = optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for index, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value.contiguous()
            else:
                plain.setdefault(str(index), {})[name] = value
    save_file(tensors, folder / "optimizer.safetensors")
    content = {"plain": plain, "param_groups": state["param_groups"], "scheduler": scheduler.state_dict()}
    (folder / "optimizer.json").write_text(json.dumps(content))  # repr of a float reads back to the same bits


def load_optimizer(optimizer: Any, scheduler: Any, folder: Path) -> None:
    """Restore what `save_optimizer` wrote, to the last bit."""
    content = read_json(folder / "optimizer.json")
    state: dict[int, dict[str, Any]] = {int(i): dict(values) for i, values in content["plain"].items()}
    for key, value in load_file(folder / "optimizer.safetensors").items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    groups = [{**group, "betas": tuple(group["betas"])} for group in content["param_groups"]]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    scheduler.load_state_dict(content["scheduler"])


def mark_complete(folder: Path) -> None:
    """Say that a checkpoint is whole."""
    write_text(folder / COMPLETE, "")


class KeepNewest(TrainerCallback):
    """Drops a run's older checkpoints once the newest is whole: `save_total_limit` would drop them before."""

    def on_save(self, args: Any, *_: Any, **__: Any) -> None:
        if not args.should_save:  # the first process does
            return
        folder = Path(args.output_dir)
        newest = last_complete(folder)
        for other in folder.glob("checkpoint-*"):
            if newest is not None and other != newest:
                shutil.rmtree(other, ignore_errors=True)


def last_complete(folder: Path) -> Path | None:
    """The newest whole checkpoint, or None."""
    found = [p.parent for p in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(found, key=lambda p: int(p.name.split("-")[-1]), default=None)


def cut_metrics(file: Path, steps: int) -> None:
    """Keep the rows up to a step: those after it will be written again."""
    if file.exists():
        write_jsonl(file, [row for row in read_jsonl(file) if row["step"] <= steps])


def optimizer_steps(checkpoint: Path) -> int:
    return int(read_json(checkpoint / "trainer_state.json")["global_step"])


def write_estimator(state: dict[str, Any], folder: Path) -> None:
    write_json(folder / "advantage_estimator.json", state)


def read_estimator(folder: Path) -> dict[str, Any]:
    file = folder / "advantage_estimator.json"
    state: dict[str, Any] = read_json(file) if file.exists() else {}
    return state
