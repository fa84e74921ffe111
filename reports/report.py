"""`render`: grid directories -> report directory. Nothing is done twice: an unchanged grid gives its report at once."""

from __future__ import annotations

import glob
import hashlib
import importlib.metadata
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from krpo.errors import BadInput
from krpo.rundir import dumps, find_runs, write_text
from reports.selection import Selection, parse
from reports.stored import NOT_WRITABLE, check_directory, distinct

STATE = ".state.json"
STALE = 600
"""Seconds after which a temporary file is no other process's that is still at work."""

EXCLUSIONS = "tables/exclusions.csv"
MARK = b"krpo report</title>"
"""Stands in every page of ours, also in one whose `STATE` is gone."""

COMPACT = ("study.json", "runs.jsonl", "*.csv", "*.csv.gz")
LIBRARIES = ("numpy", "scipy", "pandas", "matplotlib", "fonttools", "jinja2")
_USED = ("__init__", "config", "errors", "rundir", "spec", "streams")  # of krpo
_RUN_FILES = ("spec.yaml", "manifest.json", "metrics.jsonl", "heldout.jsonl", "DONE", "FAILED")


@dataclass(frozen=True)
class Rendered:
    """Where the page is, whether it had to be made, and the table of what was left out or mended, if there is one."""

    page: Path
    changed: bool
    exclusions: Path | None = None


def render(
    root: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    select: Sequence[str] = (),
    since: str | None = None,
) -> Path:
    """Render the report of a grid directory (or of several, merged) and return the path of its `index.html`.

    ``out`` defaults to `<root>/report`, and for several grids to `<first root's parent>/<names joined by +>/report`.
    ``select`` (`["estimator=krpo", ...]`) and ``since`` (a date) keep some of the runs.

    Raises `BadInput` where there is nothing to report on or where the output cannot be written.
    """
    return render_report(root, out, parse(select, since)).page


def render_report(
    root: str | Path | Sequence[str | Path], out: str | Path | None = None, selection: Selection | None = None
) -> Rendered:
    roots = distinct([Path(root)] if isinstance(root, (str, Path)) else [Path(one) for one in root])
    folder = Path(out) if out is not None else _default(roots)
    selection = selection or Selection()
    inputs = fingerprint(roots, selection)
    page = folder / "index.html"
    before = _state(folder)
    if before.get("inputs") == inputs and all(
        _digest(folder / name) == digest for name, digest in before["files"].items()
    ):
        return Rendered(page, changed=False, exclusions=_exclusions(folder, before["files"]))
    for one in roots:
        check_directory(one)
    check_writable(folder)
    check_ours(folder, ["index.html"])
    files = _files(roots, selection)
    check_ours(folder, files)
    old = _earlier(folder, before)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)  # and from here on the folder is ours
        write_text(folder / STATE, dumps({"files": before.get("files", {}) | digests}) + "\n")
        _write(folder, files, old)
        write_text(folder / STATE, dumps({"inputs": inputs, "files": digests}) + "\n")
    except OSError as error:
        if error.errno in NOT_WRITABLE:
            raise BadInput(
                f"{folder}: cannot be written ({error.strerror}); choose another place with --output"
            ) from None
        raise
    return Rendered(page, changed=True, exclusions=_exclusions(folder, files))


def _exclusions(folder: Path, files: Iterable[str]) -> Path | None:
    return folder / EXCLUSIONS if EXCLUSIONS in files else None


def is_probe(root: Path) -> bool:
    """Whether a folder is what `krpo-probe` writes, or its table alone."""
    table = root / "results.csv"
    return table.is_file() and not any((root / name).exists() for name in ("grid.yaml", "study.json"))


def _files(roots: Sequence[Path], selection: Selection) -> dict[str, bytes]:
    probes = [root for root in roots if is_probe(root)]
    if probes and (len(roots) > 1 or selection.words):
        raise BadInput(f"{probes[0]}: a probe has a report of its own; name it alone and without a selection")
    # pandas and matplotlib: only now
    if probes:
        from reports.probe import probe_files

        return probe_files(probes[0])
    from reports.build import build_files

    return build_files(roots, selection)


def check_writable(folder: Path) -> None:
    """Raises `BadInput` before the work is done, not after it."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "no permission" if there.is_dir() else f"{there} is a file"
        raise BadInput(f"{folder}: cannot be written ({why}); choose another place with --output")


def _is_ours(folder: Path) -> bool:
    page = folder / "index.html"
    return bool(_state(folder)) or (page.is_file() and MARK in page.read_bytes())


def _earlier(folder: Path, state: Mapping[str, Any]) -> Iterable[str]:
    """What an earlier report of ours wrote; of one whose state is gone, what a new one may not write again."""
    if state:
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


def _default(roots: Sequence[Path]) -> Path:
    if len(roots) == 1:
        return roots[0] / "report"
    name = "+".join(root.resolve().name for root in roots)
    if len(name.encode()) > 200:  # more than a file system takes
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        name = f"{roots[0].resolve().name[:40]}+{len(roots) - 1} more, {digest}"
    return roots[0].resolve().parent / name / "report"


def fingerprint(roots: Sequence[Path], selection: Selection) -> str:
    """A hash of everything that the report depends on: stored data, this package's code, the libraries' versions."""
    whole = hashlib.sha256(f"{selection.words}\n".encode())
    for name in LIBRARIES:
        whole.update(f"{name} {importlib.metadata.version(name)}\n".encode())
    here = Path(__file__).parent
    code = [p for kind in ("*.py", "*.html", "*.css") for p in here.rglob(kind)] + list(
        (here.parent / "krpo").glob("*.py")
    )
    for file in sorted(code):
        whole.update(f"{file.relative_to(here.parent)} {_digest(file)}\n".encode())
    for root in roots:
        whole.update(f"root {root}\n".encode())
        for file in _inputs(root):
            whole.update(f"{file.relative_to(root)} {_digest(file)}\n".encode())
    return whole.hexdigest()


def _inputs(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        return
    yield root / "grid.yaml"
    yield from sorted(file for name in COMPACT for file in root.glob(name))
    for run in find_runs(root):
        yield from (run.path / name for name in _RUN_FILES)
        yield from sorted(run.eval.glob("*.json"))
        yield from sorted(run.eval.glob("*.jsonl"))
    yield from sorted(root.glob("base/*/eval/*.json"))


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return "-"


def _state(folder: Path) -> dict[str, dict[str, str]]:
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        return state if isinstance(state["files"], dict) else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _write(folder: Path, files: dict[str, bytes], old: Iterable[str]) -> None:
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
    for name in files:
        for stale in (folder / name).parent.glob(f".{glob.escape(Path(name).name)}.*.tmp"):  # of one that was killed
            if time.time() - stale.stat().st_mtime > STALE:
                stale.unlink(missing_ok=True)
    for name in set(old) - set(files):
        if not Path(name).is_absolute() and ".." not in Path(name).parts:
            (folder / name).unlink(missing_ok=True)
