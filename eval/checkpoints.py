"""What is evaluated: a checkpoint's folder, checked, with the hash that identifies it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from krpo.errors import BadInput
from krpo.prompts import rendered


@dataclass(frozen=True)
class Checkpoint:
    """A policy to evaluate."""

    name: str  # as the user wrote it
    path: str  # what Transformers and vLLM load
    weights: str  # hash of weights, configuration and tokenizer

    def training_prompt(self, question: str) -> str:
        """The question as the trainer puts it to this model, to the letter."""
        return rendered(question, self._tokenizer(), instruct=True)

    def heads(self) -> dict[str, int]:
        """The model's attention heads and key-value heads, where its configuration says how many."""
        file = Path(self.path) / "config.json"
        config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        config = config.get("text_config") or config
        names = {"attention heads": "num_attention_heads", "key-value heads": "num_key_value_heads"}
        return {what: config[name] for what, name in names.items() if isinstance(config.get(name), int)}

    def _tokenizer(self) -> Any:
        return _tokenizer_of(self.path)

    def chat_template(self) -> Callable[..., str]:
        """Messages -> prompt text. Raises `BadInput` where the tokenizer has no chat template."""
        tokenizer = self._tokenizer()
        if not tokenizer.chat_template:
            raise BadInput(f"{self.name}: its tokenizer has no chat template; leave out --chat-template")

        def render(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            text: str = tokenizer.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
            return text

        return render


def find_checkpoint(name: str | Path) -> Checkpoint:
    """Check that a checkpoint is there and hash it; its weights are not loaded.

    Raises `BadInput` for a missing folder, a folder that is no checkpoint and a hub name that cannot be reached.
    """
    from krpo.policies import policy_path, weights_hash

    path = policy_path(str(name))
    return Checkpoint(str(name), str(path), weights_hash(str(name)))


@lru_cache(maxsize=2)
def _tokenizer_of(path: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path)
