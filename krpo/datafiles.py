"""Local data files, checked line by line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from krpo.errors import BadInput, nearest


def find_file(folder: Path, name: str, wanted_by: str) -> Path:
    """The file ``name`` in a data folder. Raises `BadInput` that names both and the nearest file there."""
    if not folder.is_dir():
        raise BadInput(f"data folder {folder}: no such folder")
    file = folder / name
    if not file.is_file():
        here = [p.name for p in folder.iterdir() if p.suffix == ".jsonl"]
        hint = nearest(name, here) if here else "it holds no .jsonl file"
        raise BadInput(f"data folder {folder}: no file {name}, which {wanted_by} needs; {hint}")
    return file


def read_rows(file: Path, columns: Mapping[str, type]) -> list[dict[str, Any]]:
    """Every row of a JSON Lines file; each must be an object that has ``columns`` with these types.

    Raises `BadInput` that names the file, the line and the column.
    """
    rows = []
    for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise BadInput(f"{file}, line {number}: not valid JSON ({error})") from None
        if not isinstance(row, dict):
            named = " and ".join(f"'{column}'" for column in columns)
            raise BadInput(f"{file}, line {number}: expected an object with {named}, found {row!r:.60}")
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
