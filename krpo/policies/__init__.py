"""Policies: the built-in `tiny` one, how it is made, and the loading of Hugging Face models.

    model, tokenizer = load_policy("tiny")

`krpo/policies/tiny/` is a plain Hugging Face folder; `python -m krpo.policies.build_tiny` makes it again.
"""

from krpo.policies.loading import load_policy, policy_path, weights_hash

__all__ = ["load_policy", "policy_path", "weights_hash"]
