"""How a question is put to a language model: the one place where training and evaluation get their prompts from."""

from __future__ import annotations

from typing import Any

SYSTEM = (
    "Work out the answer to the question step by step. Write your reasoning between <think> and </think>, "
    "then the final answer alone between <answer> and </answer>."
)
"""The system prompt of tasks for language models. Its wording is ours; the tags are those of the published recipe."""


def as_messages(question: str) -> list[dict[str, str]]:
    """A question as a conversation, for a tokenizer with a chat template."""
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]


def as_text(question: str) -> str:
    """A question as plain text, for a base model without a chat template."""
    return f"{SYSTEM}\n\nQuestion: {question}\nAnswer:\n"


def training_prompt(question: str, *, instruct: bool, chat: bool) -> str | list[dict[str, str]]:
    """What TRL's `prompt` column holds.

    Args:
        question: `Row.prompt`.
        instruct: whether the task wants the system prompt (`Task.instruct`); else the question is the whole prompt.
        chat: whether the tokenizer has a chat template.
    """
    if not instruct:
        return question
    return as_messages(question) if chat else as_text(question)


def rendered(question: str, tokenizer: Any, *, instruct: bool) -> str:
    """The text that the model is given, to the letter: what `training_prompt` becomes in TRL."""
    prompt = training_prompt(question, instruct=instruct, chat=bool(tokenizer.chat_template))
    if isinstance(prompt, str):
        return prompt
    text: str = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    return text
