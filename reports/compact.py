"""A grid's results as one small folder of tables: what `krpo-report --export` writes and `krpo-report` reads.

```
reports/data/<grid>/study.json         format, the grid's name, a hash of each file's content
reports/data/<grid>/grid.yaml          the grid file, as it stood beside the runs
reports/data/<grid>/runs.jsonl         a run a line: key, status, specification, manifest
reports/data/<grid>/steps.csv.gz       a row per run and step
reports/data/<grid>/held_out.csv       the held-out curves
reports/data/<grid>/scores.csv         a row per run, task, metric and level
reports/data/<grid>/evaluations.csv    a row per run and task: settings, what was cut, not extracted, timed out
reports/data/<grid>/questions.csv.gz   a row per question, a column per run: right answers among the samples
reports/data/<grid>/base.csv           scores of the untrained policy
reports/data/<grid>/notes.csv          what was left out or mended when the runs were read
```

Numbers have all their digits, so a report made from the folder equals the one made from the runs. No model answers,
no checkpoints. The same runs give the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from krpo.errors import BadInput
from krpo.rundir import dumps, read_json
from reports.evaluations import EVALUATIONS, QUESTIONS, SCORES, Columns
from reports.output import left_behind
from reports.rundirs import STEPS, StoredRun, stacked
from reports.specs import settled
from reports.stored import MARKER, NOT_WRITABLE, Note, check_format, is_compact

FORMAT = 1
TABLES = ("steps.csv.gz", "held_out.csv", "scores.csv", "evaluations.csv", "questions.csv.gz", "base.csv", "notes.csv")
FILES = (MARKER, "grid.yaml", "runs.jsonl", *TABLES)


def write_compact(folder: Path, root: Path, runs: Sequence[StoredRun], base: pd.DataFrame, notes: list[Note]) -> None:
    """Write the folder anew. ``notes``: those of no single run. Raises `BadInput` where anything else stands there."""
    if folder.exists() and not is_compact(folder) and not _only_ours(folder):
        raise BadInput(f"{folder}: exists and is no exported study; choose another place, or remove it first")
    facts = [
        {"run": r.key, "status": r.status, "reason": r.reason, "spec": r.spec, "manifest": r.manifest} for r in runs
    ]
    every_note = [*notes, *(note for run in runs for note in run.notes)]
    files: dict[str, bytes] = {
        "runs.jsonl": "".join(dumps(row) + "\n" for row in facts).encode(),
        "steps.csv.gz": _csv(stacked({run.key: run.steps for run in runs}, STEPS)),
        "held_out.csv": _csv(stacked({run.key: run.held_out for run in runs}, STEPS)),
        "scores.csv": _csv(stacked({run.key: run.scores for run in runs}, SCORES)),
        "evaluations.csv": _csv(stacked({run.key: run.evaluations for run in runs}, EVALUATIONS)),
        "questions.csv.gz": _csv(_wide({run.key: run.questions for run in runs})),
        "base.csv": _csv(base),
        "notes.csv": _csv(pd.DataFrame(every_note, columns=["where", "what", "excludes"])),
    }
    marker: dict[str, Any] = {"format": FORMAT, "grid": runs[0].grid, "runs": len(runs)}
    marker["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    files[MARKER] = (json.dumps(marker, indent=1) + "\n").encode()
    if (root / "grid.yaml").exists():
        files["grid.yaml"] = (root / "grid.yaml").read_bytes()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
        try:
            for name, content in files.items():
                (fresh / name).write_bytes(gzip.compress(content, 9, mtime=0) if name.endswith(".gz") else content)
            os.chmod(fresh, 0o755)
            if not folder.exists():
                os.rename(fresh, folder)
            else:  # one file after the other: a study of which the hashes are wrong is not read
                for name in [name for name in files if name != MARKER] + [MARKER]:
                    os.replace(fresh / name, folder / name)
                for name in set(FILES) - set(files):
                    (folder / name).unlink(missing_ok=True)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        for left in left_behind(folder):
            shutil.rmtree(left, ignore_errors=True)
    except OSError as error:
        if error.errno in NOT_WRITABLE:
            raise BadInput(f"{folder}: cannot be written ({error.strerror})") from None
        raise


def _only_ours(folder: Path) -> bool:
    """Whether there is nothing in a folder but what an export that was killed leaves there."""
    return folder.is_dir() and all(file.name in FILES for file in folder.iterdir())


def read_compact(root: Path) -> tuple[list[StoredRun], list[Note]]:
    """The runs of an exported study, and the notes that belong to none of them.

    Raises `BadInput` for one that a newer version wrote, and where a file is missing or damaged.
    """
    marker = read_json(root / MARKER)
    check_format(marker, root / MARKER, FORMAT)
    try:
        _check_whole(root, marker.get("sha256") or {})
        return _read(root, str(marker["grid"]))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadInput(f"{root}: damaged ({type(error).__name__}: {error}); export the study again") from None


def _check_whole(root: Path, digests: Mapping[str, str]) -> None:
    """Raises `BadInput` where a file is not as it was exported. A study from before there were hashes is taken as it
    is, and the grid file, which says what to compare, may be edited."""
    for name, digest in digests.items():
        file = root / name
        if not file.exists():
            raise BadInput(f"{file}: no such file; export the study again")
        try:
            content = gzip.decompress(file.read_bytes()) if name.endswith(".gz") else file.read_bytes()
        except (OSError, EOFError, zlib.error) as error:
            raise BadInput(f"{file}: damaged ({error}); export the study again") from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise BadInput(f"{file}: damaged or edited, it is not as it was exported; export the study again")


def _read(root: Path, grid: str) -> tuple[list[StoredRun], list[Note]]:
    facts = _lines(root / "runs.jsonl")
    tables = {name: _table(root / name) for name in TABLES if name not in ("questions.csv.gz", "base.csv", "notes.csv")}
    by_run = {name: dict(list(table.groupby("run", sort=False))) for name, table in tables.items()}
    empty = {name: table.iloc[:0] for name, table in tables.items()}
    questions, notes = _table(root / "questions.csv.gz"), _table(root / "notes.csv")
    told = [Note(row.where, row.what, bool(row.excludes)) for row in notes.itertuples()]
    runs = []
    for fact in facts:
        key = fact["run"]
        own = {name: _columns(by_run[name].get(key, empty[name]).drop(columns="run")) for name in tables}
        runs.append(
            StoredRun(
                grid=grid,
                key=key,
                status=fact["status"],
                reason=fact["reason"],
                spec=settled(fact["spec"])[0],
                manifest=fact["manifest"],
                steps=own["steps.csv.gz"],
                held_out=own["held_out.csv"],
                scores=own["scores.csv"],
                evaluations=own["evaluations.csv"],
                questions=_long(questions, key),
                notes=tuple(note for note in told if note.where == key),
            )
        )
    keys = {run.key for run in runs}
    return runs, [note for note in told if note.where not in keys]


def read_base(root: Path) -> pd.DataFrame:
    try:
        return _table(root / "base.csv").astype(SCORES)
    except (KeyError, ValueError) as error:
        raise BadInput(f"{root / 'base.csv'}: damaged ({error}); export the study again") from None


def _wide(questions: dict[str, Columns]) -> pd.DataFrame:
    keys = ["task", "question"]
    columns = [
        pd.DataFrame(own).astype(QUESTIONS).set_index(keys).right.rename(run)
        for run, own in questions.items()
        if len(own["right"])
    ]
    if not columns:
        return pd.DataFrame(columns=keys)
    wide = pd.concat(columns, axis=1)
    whole = bool((((wide % 1 == 0) & (wide.abs() < 2**53)) | wide.isna()).all(axis=None))
    return (wide.astype("Int64") if whole else wide).reset_index()


def _long(wide: pd.DataFrame, key: str) -> Columns:
    own = (
        wide[["task", "question", key]].dropna(subset=key)
        if key in wide
        else pd.DataFrame(columns=[*wide.columns[:2], key])
    )
    return _columns(own.rename(columns={key: "right"}))


def _columns(frame: pd.DataFrame) -> Columns:
    return {str(name): frame[name].to_numpy() for name in frame}


TEXT = ("run", "task", "question", "metric", "level", "settings", "policy", "where", "what")


def _csv(frame: pd.DataFrame) -> bytes:
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text.encode()


def _table(path: Path) -> pd.DataFrame:
    """A table as it was written: labels stay text, an empty cell is a missing number, numbers are exact."""
    try:
        content = path.read_bytes()
        text = gzip.decompress(content) if path.suffix == ".gz" else content
        table = pd.read_csv(
            io.BytesIO(text),
            dtype=dict.fromkeys(TEXT, str),
            keep_default_na=False,
            na_values={column: [""] for column in _head(text) if column not in TEXT},
            float_precision="round_trip",
        )
        for column in table:
            if column not in TEXT and table[column].dtype.kind not in "biuf" and len(table):
                raise ValueError(f"column '{column}' holds what is no number")
        return table
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; export the study again") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise BadInput(f"{path}: damaged ({error}); export the study again") from None


def _head(text: bytes) -> list[str]:
    return list(pd.read_csv(io.BytesIO(text), nrows=0).columns)


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: damaged ({error}); export the study again") from None
