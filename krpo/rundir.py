"""The run directory: the one format that all rooms share.

```
runs/<grid>/grid.yaml        the grid, resolved
runs/<grid>/<key>/
    spec.yaml                what was run (`krpo.spec.RunSpec`, resolved) and its key
    manifest.json            git commit, package versions, hashes of base weights and data, host, time, memory
    metrics.jsonl            one line per optimizer step; what depends on the machine is inside "wall"
    heldout.jsonl            the held-out curve, where one was asked for: accuracy on a few questions every N steps
    resume/                  the last saved state of a run that is not done (`krpo.resume`)
    checkpoint/              a plain Hugging Face folder (safetensors) with krpo.json
    eval/<task>.jsonl        one row per question and sample
    eval/<task>.json         the summary of those rows
    log.txt                  what the run printed
    DONE | FAILED            JSON; FAILED holds the reason
```

Every file is written to a temporary name and renamed, except the two that grow (`metrics.jsonl`, `log.txt`); a torn
last line of a JSON Lines file is dropped on reading.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import yaml

from krpo.errors import BadInput

Status = Literal["done", "failed", "running", "missing"]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's where it is built in: eight times as fast


def write_text(path: str | Path, text: str) -> None:
    """Write a whole file or nothing: a temporary name beside it, then a rename."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def dumps(value: Any) -> str:
    """One line of JSON: keys in the order given, no NaN surprises (NaN and infinities become null)."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)


def write_json(path: str | Path, value: Any) -> None:
    write_text(path, json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, indent=1) + "\n")


def write_jsonl(path: str | Path, rows: Iterable[Any]) -> None:
    write_text(path, "".join(dumps(row) + "\n" for row in rows))


def write_yaml(path: str | Path, value: Any) -> None:
    write_text(path, yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110))


def read_json(path: str | Path) -> Any:
    """A JSON file's value. Raises `BadInput` where it is missing or torn."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not valid JSON ({error})") from None


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file. A torn last line is dropped; one broken elsewhere is `BadInput`."""
    rows = []
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except (json.JSONDecodeError, UnicodeDecodeError):
            if number >= len(lines) - 1 and not any(rest.strip() for rest in lines[number:]):
                break
            raise BadInput(f"{path}, line {number}: not valid JSON") from None
    return rows


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value


class _Inside:
    """A path inside a run directory, made when it is asked for: a plan of ten thousand runs asks for few of them."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, run: RunDir, owner: type[RunDir]) -> Path:
        return run.path / self.name


class RunDir:
    """One run's folder: where its files are, and whether it is done."""

    spec_file = _Inside("spec.yaml")
    manifest_file = _Inside("manifest.json")
    metrics_file = _Inside("metrics.jsonl")
    held_out_file = _Inside("heldout.jsonl")
    checkpoint = _Inside("checkpoint")
    resume = _Inside("resume")
    eval = _Inside("eval")
    log_file = _Inside("log.txt")
    done_file = _Inside("DONE")
    failed_file = _Inside("FAILED")

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def key(self) -> str:
        return self.path.name

    def status(self) -> Status:
        if self.done_file.exists():
            return "done"
        if self.failed_file.exists():
            return "failed"
        return "running" if self.spec_file.exists() else "missing"

    def mark_done(self, **facts: Any) -> None:
        write_json(self.done_file, facts)
        self.failed_file.unlink(missing_ok=True)

    def mark_failed(self, reason: str, **facts: Any) -> None:
        write_json(self.failed_file, {"reason": reason, **facts})

    def clear(self) -> None:
        """Make room for a fresh start: what an earlier, unfinished attempt left is removed, its log is kept."""
        import shutil

        for file in (self.metrics_file, self.held_out_file, self.manifest_file, self.done_file, self.failed_file):
            file.unlink(missing_ok=True)
        for folder in (self.checkpoint, self.eval, self.resume):
            shutil.rmtree(folder, ignore_errors=True)

    def spec(self) -> dict[str, Any]:
        """The stored specification as a plain mapping."""
        try:
            data = yaml.load(self.spec_file.read_text(encoding="utf-8"), Loader=_LOADER)
        except FileNotFoundError:
            raise BadInput(f"{self.spec_file}: no such file; {self.path} is no run directory") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise BadInput(f"{self.spec_file}: not valid YAML ({error})") from None
        if not isinstance(data, dict):
            raise BadInput(f"{self.spec_file}: expected a mapping")
        return data

    def metrics(self) -> list[dict[str, Any]]:
        """One row per step, in order; empty where nothing was logged yet."""
        return read_jsonl(self.metrics_file) if self.metrics_file.exists() else []

    def evals(self) -> dict[str, dict[str, Any]]:
        """Summaries of the finished evaluations by task."""
        return {p.stem: read_json(p) for p in sorted(self.eval.glob("*.json"))}


def find_runs(root: str | Path) -> Iterator[RunDir]:
    """The run directories under ``root`` (itself, or at most two levels down), in the order of their paths."""
    root = Path(root)
    if (root / "spec.yaml").exists():
        yield RunDir(root)
        return
    for pattern in ("*/spec.yaml", "*/*/spec.yaml"):
        for file in sorted(root.glob(pattern)):
            yield RunDir(file.parent)
