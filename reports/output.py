"""The folder of a report: what we wrote there is known by its hashes, and nothing else is overwritten or removed."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from krpo.errors import BadInput
from krpo.rundir import dumps, write_text
from reports.stored import NOT_WRITABLE

STATE = ".state.json"
STALE = 600
"""Seconds after which a temporary file is no other process's that is still at work."""

EXCLUSIONS = "tables/exclusions.csv"
MARK = b"krpo report</title>"
"""Stands in every page of ours, also in one whose `STATE` is gone."""


def written(folder: Path, inputs: str) -> list[str] | None:
    """The files of the report that was made there from these ``inputs``, all whole; None if it has to be made."""
    state = _state(folder)
    whole = state.get("inputs") == inputs and all(digest_of(folder / k) == v for k, v in state["files"].items())
    return list(state["files"]) if whole else None


def write(folder: Path, files: Mapping[str, bytes], inputs: str) -> None:
    """Write a report, and remove what an earlier one wrote that this one lacks.

    Raises `BadInput` where a file of somebody else's stands in the way, or where the folder cannot be written.
    """
    check_ours(folder, files)
    before, old = _state(folder), _earlier(folder)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)  # and from here on the folder is ours
        write_text(folder / STATE, dumps({"files": before.get("files", {}) | digests}) + "\n")
        _replace(folder, files, old)
        write_text(folder / STATE, dumps({"inputs": inputs, "files": digests}) + "\n")
    except OSError as error:
        if error.errno in NOT_WRITABLE:
            raise BadInput(
                f"{folder}: cannot be written ({error.strerror}); choose another place with --output"
            ) from None
        raise


def check_writable(folder: Path) -> None:
    """Raises `BadInput` before the work is done, not after it."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "no permission" if there.is_dir() else f"{there} is a file"
        raise BadInput(f"{folder}: cannot be written ({why}); choose another place with --output")


def _is_ours(folder: Path) -> bool:
    page = folder / "index.html"
    return bool(_state(folder)) or (page.is_file() and MARK in page.read_bytes())


def _earlier(folder: Path) -> list[str]:
    """What an earlier report of ours wrote; of one whose state is gone, what a new one may not write again."""
    if state := _state(folder):
        return list(state["files"])
    return [str(Path(EXCLUSIONS).with_suffix(f".{kind}")) for kind in ("csv", "md", "tex")] if _is_ours(folder) else []


def check_ours(folder: Path, names: Iterable[str]) -> None:
    """Raises `BadInput` where a file that is to be written stands already and no report of ours wrote it."""
    if _is_ours(folder):
        return
    for name in names:
        if (folder / name).exists():
            raise BadInput(
                f"{folder / name}: exists and was not written by krpo-report; choose another place with --output"
            )


def digest_of(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return "-"


def _state(folder: Path) -> dict[str, Any]:
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return state if isinstance(state["files"], dict) else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def left_behind(path: Path) -> Iterator[Path]:
    """The temporary files or folders from which ``path`` was to be made by a process that was killed."""
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - temporary.stat().st_mtime > STALE:
                yield temporary


def _replace(folder: Path, files: Mapping[str, bytes], old: Iterable[str]) -> None:
    """Write the files, each whole or not at all, the page last; remove what an earlier report of ours left over."""
    for name in sorted(files, key=lambda name: name == "index.html"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(files[name])
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    for name in [*files, STATE]:
        for left in left_behind(folder / name):
            left.unlink(missing_ok=True)
    for name in set(old) - set(files):
        if not Path(name).is_absolute() and ".." not in Path(name).parts:
            (folder / name).unlink(missing_ok=True)
