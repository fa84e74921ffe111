"""How the built-in tiny policy is made: `python -m krpo.policies.build_tiny [--out DIR]`, a few minutes on one thread.

The policy must have something to learn by RL in under a minute, so its skill is made latent. A Llama of 0.35M
parameters is supervised on `sums` in two stages:

1. skill: correct demonstrations only, until greedy answers are nearly always right;
2. blur: in the demonstrations each step is, with a fixed probability, replaced by any number from 0 to 99, and the
   demonstration goes on from there. The model learns to write the right total with about the remaining probability, so
   its greedy answers stay good while its samples are right in proportion to (share of right steps) ** (steps).

RL then has to raise the probability of what is already the most likely answer. Held-out questions of `sums` are used in
neither stage. One thread, one seed: on one machine with one set of versions the same bytes come out again.
"""

from __future__ import annotations

import argparse
import platform
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from krpo.errors import run_cli
from krpo.policies.loading import BUILT_IN, file_hash
from krpo.policies.tokenizer import VOCABULARY, character_tokenizer
from krpo.rundir import write_json
from krpo.streams import derive_seed
from krpo.tasks import Row, Task, make_task
from krpo.tasks.sums import LARGEST_TOTAL, running_totals, written

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights."""

    seed: int = 0
    layers: int = 2
    hidden: int = 128
    heads: int = 4  # of 32 dimensions, the least that vLLM's CPU attention supports
    feed_forward: int = 256
    context: int = 1024
    batch: int = 64
    skill_steps: int = 1500
    skill_learning_rate: float = 4e-3
    blur_steps: int = 600
    blur_learning_rate: float = 2e-3
    right_steps: float = 0.64  # stage 2: the share of steps that are right
    weight_decay: float = 0.01
    warmup_steps: int = 100


def build(recipe: Recipe, out: Path, report: Any = print) -> dict[str, Any]:
    """Make the policy, write its folder, return its manifest (also written, as `krpo.json`)."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(derive_seed(recipe.seed, "tiny", "weights"))
    tokenizer = character_tokenizer(recipe.context)
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=recipe.hidden,
            intermediate_size=recipe.feed_forward,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.heads,
            max_position_embeddings=recipe.context,
            tie_word_embeddings=False,
            **special,
        )
    )
    task = make_task("sums")
    started = time.perf_counter()
    stages = (
        ("skill", recipe.skill_steps, recipe.skill_learning_rate, 1.0),
        ("blur", recipe.blur_steps, recipe.blur_learning_rate, recipe.right_steps),
    )
    for stage, steps, learning_rate, right_steps in stages:
        batches = demonstrations(task, tokenizer, recipe, stage, steps, right_steps)
        for step, loss in supervise(model, batches, steps, learning_rate, recipe):
            if step % 100 == 0 or step == steps:
                report(f"{stage} {step}/{steps}: loss {loss:.3f}, {time.perf_counter() - started:.0f} s")
    scores = {
        "greedy": accuracy(model, tokenizer, task, temperature=0.0),
        "temperature_1": accuracy(model, tokenizer, task, temperature=1.0, samples=8),
    }
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    weights = out / "model.safetensors"
    weights.chmod(0o644)
    stat = weights.stat()
    manifest = {
        "command": "python -m krpo.policies.build_tiny",
        "recipe": asdict(recipe),
        "parameters": sum(p.numel() for p in model.parameters()),
        "task": task.fingerprint(),
        "accuracy": scores,
        "weights_sha256": file_hash(weights, stat.st_size, stat.st_mtime_ns),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "tokenizers", "safetensors", "numpy")},
        },
        "wall": {"seconds": round(time.perf_counter() - started, 1), "machine": platform.machine()},
    }
    write_json(out / "krpo.json", manifest)
    return manifest


def demonstrations(
    task: Task, tokenizer: Any, recipe: Recipe, stage: str, steps: int, right_steps: float
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of token ids and labels, both [B, T]; labels are -100 on the prompt and on padding."""
    import torch

    rng = random.Random(derive_seed(recipe.seed, "tiny", "demonstrations", stage))
    rows = task.train_rows(derive_seed(recipe.seed, "tiny", "questions", stage), steps * recipe.batch)
    for i in range(0, len(rows), recipe.batch):
        batch = rows[i : i + recipe.batch]
        prompts = tokenizer([row.prompt for row in batch])["input_ids"]
        answers = tokenizer([demonstration(row, right_steps, rng) for row in batch])["input_ids"]
        length = max(len(p) + len(a) + 1 for p, a in zip(prompts, answers, strict=True))
        ids_BT = torch.full((len(batch), length), tokenizer.pad_token_id)
        labels_BT = torch.full((len(batch), length), -100)
        for b, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            whole = torch.tensor([*prompt, *answer, tokenizer.eos_token_id])
            ids_BT[b, : len(whole)] = whole
            labels_BT[b, len(prompt) : len(whole)] = whole[len(prompt) :]
        yield ids_BT, labels_BT


def demonstration(row: Row, right_steps: float, rng: random.Random) -> str:
    """An answer to a row in which each step is right with probability ``right_steps``, given the step before it.

    A wrong step is any total from 0 to 99 (and so, one time in a hundred, right after all); what follows goes on from
    it, kept within 0 to 99. The answer repeats the last total.
    """
    right = [0, *running_totals(row.prompt)]
    changes = [after - before for before, after in pairwise(right)]
    totals: list[int] = []
    for change in changes:
        total = min(max((totals[-1] if totals else 0) + change, 0), LARGEST_TOTAL)
        totals.append(total if rng.random() < right_steps else rng.randint(0, LARGEST_TOTAL))
    return written(totals, totals[-1])


def supervise(
    model: Any, batches: Iterator[tuple[torch.Tensor, torch.Tensor]], steps: int, learning_rate: float, recipe: Recipe
) -> Iterator[tuple[int, float]]:
    """Adam with linear warm-up and decay; yields (step, loss)."""
    import torch

    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.98), weight_decay=recipe.weight_decay)
    model.train()
    for step, (ids_BT, labels_BT) in enumerate(batches, 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(step / recipe.warmup_steps, 1.0 - (step - 1) / steps)
        loss = model(ids_BT, attention_mask=(ids_BT != model.config.pad_token_id).long(), labels=labels_BT).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield step, loss.item()
    model.eval()


def accuracy(
    model: Any, tokenizer: Any, task: Task, *, temperature: float, samples: int = 1, seed: int = 0
) -> dict[str, float]:
    """Held-out accuracy per level, over ``samples`` answers to each question; temperature 0 is greedy."""
    import torch

    torch.manual_seed(derive_seed(seed, "tiny", "accuracy"))
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    scores = {}
    for level in task.levels:
        rows = [row for row in task.eval_rows() if row.level == level]
        prompts = tokenizer([row.prompt for row in rows], return_tensors="pt", padding=True, padding_side="left")
        correct = 0
        for _ in range(samples):
            with torch.inference_mode():
                ids_BT = model.generate(**prompts, max_new_tokens=32, **sampling)
            texts = tokenizer.batch_decode(ids_BT[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True)
            correct += sum(task.verify(text, row).correct for text, row in zip(texts, rows, strict=True))
        scores[level] = correct / (samples * len(rows))
    return scores


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m krpo.policies.build_tiny", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=BUILT_IN["tiny"], metavar="DIR", help="folder to write")
    parser.add_argument("--seed", type=int, default=Recipe.seed, help="seed of weights and data")
    args = parser.parse_args(argv)

    def body() -> int:
        manifest = build(Recipe(seed=args.seed), args.out, lambda line: print(line, file=sys.stderr, flush=True))
        print(f"{args.out}: {manifest['parameters']:,} parameters, accuracy {manifest['accuracy']}")
        return 0

    return run_cli(body)


if __name__ == "__main__":
    sys.exit(main())
