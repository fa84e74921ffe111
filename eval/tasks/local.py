"""Local data files in place of the hub's, checked line by line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from krpo.errors import BadInput, nearest


@dataclass(frozen=True)
class LocalData:
    """Which file holds which split of a task, and the columns every row must have."""

    files: Mapping[str, str]
    columns: Mapping[str, type]


LOCAL: dict[str, LocalData] = {
    "gsm8k": LocalData({"test": "gsm8k_test.jsonl", "train": "gsm8k_train.jsonl"}, {"question": str, "answer": str}),
}


def read_splits(task: str, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of each split. Raises `BadInput` that names the file, the line and the column."""
    data = LOCAL[task]
    return {split: read_rows(_file(folder, name, task), data.columns) for split, name in data.files.items()}


def read_rows(file: Path, columns: Mapping[str, type]) -> list[dict[str, Any]]:
    """Every row of a JSON Lines file; each must be an object that has ``columns`` with these types."""
    rows = []
    for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise BadInput(f"{file}, line {number}: not valid JSON ({error})") from None
        if not isinstance(row, dict):
            raise BadInput(f"{file}, line {number}: expected an object with {_named(columns)}, found {row!r:.60}")
        for column, kind in columns.items():
            if column not in row:
                raise BadInput(f"{file}, line {number}: column '{column}' is missing; {nearest(column, row)}")
            if not isinstance(row[column], kind):
                raise BadInput(
                    f"{file}, line {number}: '{column}' must be a {kind.__name__}, found {row[column]!r:.60}"
                )
        rows.append(row)
    if not rows:
        raise BadInput(f"{file}: no rows")
    return rows


def fingerprint_of(folder: Path, task: str) -> str:
    """Changes when a file that the task reads changes."""
    digest = hashlib.sha256()
    for name in LOCAL[task].files.values():
        digest.update(_file(folder, name, task).read_bytes())
    return digest.hexdigest()


def _file(folder: Path, name: str, task: str) -> Path:
    if not folder.is_dir():
        raise BadInput(f"--data-dir {folder}: no such folder")
    file = folder / name
    if not file.is_file():
        here = [p.name for p in folder.iterdir() if p.suffix == ".jsonl"]
        hint = nearest(name, here) if here else "it holds no .jsonl file"
        raise BadInput(f"--data-dir {folder}: no file {name}, which task {task} needs; {hint}")
    return file


def _named(columns: Mapping[str, type]) -> str:
    return " and ".join(f"'{c}'" for c in columns)
