"""Stored files -> plain Python, forgivingly: a report must come out of a grid in which something went wrong.

Everything that is left out is counted in a `Note`, and the page prints the notes.
"""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from krpo.errors import BadInput, nearest
from krpo.rundir import read_json

MARKER = "study.json"
"""The file by which an exported study is known (`reports.compact`)."""

FORMAT = 1
"""The newest `format` of a grid file or an evaluation summary that this code can read."""

HUGE = 1e150
"""Numbers from here on are not used: their squares are none."""

NOT_WRITABLE = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT
)  # fmt: skip
"""What an error of the system has as its number where a place is no place to write to."""


@dataclass(frozen=True)
class Note:
    """Something that was left out of the report, or mended: where, what, and whether a run was excluded by it."""

    where: str
    what: str
    excludes: bool = False


def distinct(roots: Iterable[Path]) -> list[Path]:
    """The folders, each once, whatever it is called."""
    first: dict[Path, Path] = {}
    for root in roots:
        first.setdefault(root.resolve(), root)
    return list(first.values())


def is_compact(root: Path) -> bool:
    """Whether a folder is an exported study."""
    return (root / MARKER).is_file()


def check_directory(root: Path) -> None:
    """Raises `BadInput` where there is no directory, naming what there is to report on beside it."""
    if root.is_dir():
        return
    if root.exists():
        raise BadInput(f"{root}: is a file; name a grid's directory, as in {root.parent}")
    beside = sorted(p.name for p in root.parent.glob("*") if (p / "grid.yaml").exists() or is_compact(p))
    raise BadInput(f"{root}: no such directory" + (f"; {nearest(root.name, beside)}" if beside else ""))


def check_format(value: Any, path: Path, newest: int) -> None:
    """Raises `BadInput` for a file that a newer version wrote."""
    found = value.get("format") if isinstance(value, dict) else None
    if isinstance(found, int) and found > newest:
        raise BadInput(
            f"{path}: written in format {found}, this krpo reads up to {newest}; use the version that wrote it"
        )


def read_object(path: Path, notes: list[Note], where: str) -> dict[str, Any]:
    """A JSON object, or an empty one with a note where the file is torn; a missing file is an empty object."""
    if not path.exists():
        return {}
    try:
        value = read_json(path)
    except (BadInput, ValueError, RecursionError, OSError):  # also thousands of digits, or brackets without end
        value = None
    if not isinstance(value, dict):
        notes.append(Note(where, f"{path.name} is not a valid JSON object and was not used"))
        return {}
    return value


def read_rows(path: Path, notes: list[Note], where: str) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file. Torn or broken lines are dropped and counted."""
    if not path.exists():
        return []
    try:
        lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
    except OSError as error:
        notes.append(Note(where, f"{path.name} cannot be read ({error.strerror}) and was not used"))
        return []
    try:
        rows = json.loads(b"[" + b",".join(lines) + b"]")  # one call for the file: six times as fast as one a line
    except (ValueError, RecursionError):
        rows = list(_by_line(lines))
    good = [row for row in rows if isinstance(row, dict)]
    if torn := len(lines) - len(good):
        notes.append(
            Note(where, f"{path.name}: {torn} torn {'line' if torn == 1 else 'lines'} of {len(lines)} dropped")
        )
    return good


def number(value: Any) -> float:
    """A JSON number; NaN for what is none, or too large for its square to be one."""
    return float(value) if isinstance(value, (int, float)) and abs(value) < HUGE else math.nan


def _by_line(lines: Iterable[bytes]) -> Iterable[Any]:
    for line in lines:
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            yield None


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys dotted. Lists stay as they are."""
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, below in value.items():
        flat |= flatten(below, f"{prefix}.{key}" if prefix else str(key))
    return flat
