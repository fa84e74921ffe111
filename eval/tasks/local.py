"""Local data files in place of the hub's, checked line by line."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from krpo.datafiles import find_file, read_rows


@dataclass(frozen=True)
class LocalData:
    """Which file holds which split of a task, and the columns every row must have."""

    files: Mapping[str, str]
    columns: Mapping[str, type]


_MATH = LocalData({"test": "math500_test.jsonl"}, {"problem": str, "solution": str, "answer": str})
LOCAL: dict[str, LocalData] = {
    "gsm8k": LocalData({"test": "gsm8k_test.jsonl", "train": "gsm8k_train.jsonl"}, {"question": str, "answer": str}),
    "gsm8k_think": LocalData({"test": "gsm8k_test.jsonl"}, {"question": str, "answer": str}),
    "math500": _MATH,
    "math500_think": _MATH,
    "svamp": LocalData({"test": "svamp.jsonl"}, {"Body": str, "Question": str, "Answer": float, "Type": str}),
}


def read_splits(task: str, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of each split. Raises `BadInput` that names the file, the line and the column."""
    data = LOCAL[task]
    return {
        split: read_rows(find_file(folder, name, f"task {task}"), data.columns) for split, name in data.files.items()
    }


def fingerprint_of(folder: Path, task: str) -> str:
    """Changes when a file that the task reads changes."""
    digest = hashlib.sha256()
    for name in LOCAL[task].files.values():
        digest.update(find_file(folder, name, f"task {task}").read_bytes())
    return digest.hexdigest()


def svamp(data_dir: str | None = None, **_: Any) -> dict[str, Any]:
    """SVAMP's questions for lm-eval, from the local file or the hub."""
    from datasets import Dataset, load_dataset

    raw = read_splits("svamp", Path(data_dir))["test"] if data_dir else load_dataset("ChilleD/SVAMP", split="test")
    docs = [
        {
            "task": "gsm8k",  # whose verifier compares numbers
            "id": row["ID"],
            "prompt": f"{row['Body'].rstrip('. ')}. {row['Question']}",
            "answer": f"{float(row['Answer']):g}",
            "level": row["Type"],
        }
        for row in raw
    ]
    return {"test": Dataset.from_list(docs)}
