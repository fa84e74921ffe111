"""What an evaluation leaves on disk: one row per question and sample, one summary, and a journal while it runs.

```
<out>/<task>.jsonl           the rows, in the order of questions and samples
<out>/<task>.json            the summary, written last
<out>/<task>.partial.jsonl   while it runs: finished batches; the same evaluation goes on from there
```
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from krpo.errors import BadInput
from krpo.rundir import dumps, read_json, read_jsonl, write_json, write_jsonl

Row = dict[str, Any]


class Store:
    """The files of one task's evaluation of one checkpoint under one key."""

    def __init__(self, out: Path, task: str, key: str) -> None:
        name = re.sub(r"[^\w.,=+-]", "_", task)
        self.key = key
        self.rows_file = out / f"{name}.jsonl"
        self.summary_file = out / f"{name}.json"
        self.journal_file = out / f"{name}.partial.jsonl"

    def finished(self) -> dict[str, Any] | None:
        """The summary, if this very evaluation is finished and all its rows are there."""
        if not self.summary_file.exists() or not self.rows_file.exists():
            return None
        try:
            summary = read_json(self.summary_file)
        except BadInput:
            return None
        if not isinstance(summary, dict) or summary.get("key") != self.key:
            return None
        return summary if self._whole_rows() == summary["n_questions"] * summary["samples"] else None

    def _whole_rows(self) -> int:
        """How many whole lines the rows' file has; a torn last one does not count."""
        with self.rows_file.open("rb") as stream:
            return sum(line.endswith(b"\n") for line in stream)

    def resume(self) -> list[Row]:
        """Rows that an interrupted evaluation with the same key has finished; else none, and a fresh journal."""
        self.journal_file.parent.mkdir(parents=True, exist_ok=True)
        rows = read_jsonl(self.journal_file) if self.journal_file.exists() else []
        if not rows or rows[0].get("key") != self.key:
            rows = []
        write_jsonl(self.journal_file, [{"key": self.key}, *rows[1:]])  # without a torn last line
        return rows[1:]

    def append(self, rows: Iterable[Row]) -> None:
        """Add a finished batch to the journal, on the disk before this returns."""
        with self.journal_file.open("ab") as stream:
            stream.write("".join(dumps(row) + "\n" for row in rows).encode())
            stream.flush()
            os.fsync(stream.fileno())

    def finish(self, rows: Iterable[Row], summary: dict[str, Any]) -> dict[str, Any]:
        """Write rows, then the summary, then drop the journal. Returns the summary as it reads back."""
        write_jsonl(self.rows_file, rows)
        write_json(self.summary_file, summary)
        self.journal_file.unlink(missing_ok=True)
        stored: dict[str, Any] = json.loads(self.summary_file.read_text(encoding="utf-8"))
        return stored
