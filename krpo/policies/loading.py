"""Where a policy's files are, the model and tokenizer in them, and a hash of what they hold.

Only safetensors are read, and no code that comes with a model is run. A local folder is never looked up on a hub.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from krpo.errors import BadInput, nearest

BUILT_IN = {"tiny": Path(__file__).parent / "tiny"}

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
_DTYPES = ("float32", "bfloat16", "float16")
_DEFINING = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")


def policy_path(name: str | Path) -> Path | str:
    """The folder of a built-in policy or a local one; a name on the model hub is returned as it is.

    Raises `BadInput` for what is neither.
    """
    if str(name) in BUILT_IN:
        return BUILT_IN[str(name)]
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise BadInput(f"policy '{name}' is a file; a Hugging Face folder or a name is needed")
    if not _HUB_NAME.fullmatch(str(name)):
        siblings = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
        raise BadInput(f"policy '{name}': no such folder" + (f"; {nearest(path.name, siblings)}" if siblings else ""))
    return str(name)


def load_policy(name: str | Path, *, dtype: str = "float32") -> tuple[Any, Any]:
    """The model (in evaluation mode, on the CPU) and its tokenizer.

    Raises `BadInput` for a missing folder, a folder without configuration, safetensors or tokenizer, a model that is
    no causal language model, and a hub that cannot be reached.
    """
    if dtype not in _DTYPES:
        raise BadInput(f"dtype '{dtype}'; {nearest(dtype, _DTYPES)}")
    folder = _folder(name)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
    except Exception as error:  # transformers raises many kinds for a broken folder
        raise BadInput(f"policy '{name}': the tokenizer in {folder} cannot be read ({_first_line(error)})") from None
    try:
        with _without_progress_bars():
            model = AutoModelForCausalLM.from_pretrained(
                folder, use_safetensors=True, dtype=getattr(torch, dtype), **safe
            )
    except Exception as error:
        raise BadInput(f"policy '{name}': the model in {folder} cannot be read ({_first_line(error)})") from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.eval(), tokenizer


def weights_hash(name: str | Path) -> str:
    """SHA-256 over everything in a policy's folder that decides what it writes: weights, configuration, tokenizer."""
    folder = _folder(name)
    files = sorted([*folder.glob("*.safetensors"), *(folder / n for n in _DEFINING if (folder / n).is_file())])
    whole = hashlib.sha256()
    for file in files:
        stat = file.stat()
        whole.update(f"{file.name} {file_hash(file, stat.st_size, stat.st_mtime_ns)}\n".encode())
    return whole.hexdigest()


@lru_cache(maxsize=1024)
def file_hash(file: Path, size: int, modified_ns: int) -> str:
    """SHA-256 of one file; remembered while its size and time of modification stay the same."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _folder(name: str | Path) -> Path:
    """The local folder of a policy, fetched from the hub where need be, with what a policy must have."""
    where = policy_path(name)
    folder = where if isinstance(where, Path) else _fetch(where)
    config = folder / "config.json"
    if not config.is_file():
        raise BadInput(f"policy '{name}': {folder} has no config.json, so it is no Hugging Face model folder")
    try:
        described = json.loads(config.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadInput(f"policy '{name}': {config} is not valid JSON ({error})") from None
    if not isinstance(described, dict) or "model_type" not in described:
        raise BadInput(f"policy '{name}': {config} does not say which model_type it is")
    if not any(folder.glob("*.safetensors")):
        raise BadInput(f"policy '{name}': {folder} has no *.safetensors; other weight formats are not read")
    if not any(
        (folder / n).is_file() for n in ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")
    ):
        raise BadInput(f"policy '{name}': {folder} has no tokenizer")
    return folder


def _fetch(name: str) -> Path:
    from huggingface_hub import logging as hub_logging
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    hub_logging.set_verbosity_error()  # five lines of retries say less than the one error
    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except GatedRepoError:
        raise BadInput(f"policy '{name}': its owner must grant access; log in with `hf auth login`") from None
    except RepositoryNotFoundError:
        why = "the model hub has no such model"
    except Exception as error:
        why = f"it is not in the local cache and the model hub cannot be reached ({_first_line(error)})"
    raise BadInput(f"policy '{name}': no such folder, and {why}; built in: {', '.join(BUILT_IN)}") from None


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
