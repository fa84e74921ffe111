"""What an evaluation leaves on disk: one row per question and sample, one summary, and a journal while it runs.

```
<out>/<task>.jsonl           the rows, in the order of questions and samples
<out>/<task>.json            the summary, written last
<out>/<task>.partial.jsonl   while it runs: finished batches; the same evaluation goes on from there
<out>/earlier/<key>/         the same of evaluations with another key, in whose place one was asked for since
```

What was asked for last is in `<out>` itself, and nothing is lost: what is asked for again comes back from `earlier`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from krpo.errors import BadInput
from krpo.rundir import dumps, read_json, read_jsonl, write_json, write_jsonl

Row = dict[str, Any]


class Store:
    """The files of one task's evaluation of one checkpoint under one key."""

    def __init__(self, out: Path, task: str, key: str) -> None:
        self.out, self.key = out, key
        self.name = re.sub(r"[^\w.,=+-]", "_", task)
        self.rows_file, self.summary_file, self.journal_file = self._files(out)

    def finished(self) -> dict[str, Any] | None:
        """The summary, if this very evaluation is finished and all its rows are there."""
        summary = self._whole(self.out)
        if summary is not None and summary["key"] == self.key:
            return summary
        earlier = self._earlier(self.key)
        again = self._whole(earlier)
        if again is not None:
            rows, summary_file, _ = self._files(earlier)
            self._make_room()
            os.replace(rows, self.rows_file)
            os.replace(summary_file, self.summary_file)
        return again

    def resume(self) -> list[Row]:
        """Rows that an interrupted evaluation with the same key has finished; else none, and a fresh journal."""
        self.out.mkdir(parents=True, exist_ok=True)
        rows = read_jsonl(self.journal_file) if self.journal_file.exists() else []
        if not rows or rows[0].get("key") != self.key:
            if len(rows) > 1 and "key" in rows[0]:
                self._move_journal(self.out, self._earlier(rows[0]["key"]))
            self._move_journal(self._earlier(self.key), self.out)
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
        self._make_room()
        write_jsonl(self.rows_file, rows)
        write_json(self.summary_file, summary)
        self.journal_file.unlink(missing_ok=True)
        stored: dict[str, Any] = json.loads(self.summary_file.read_text(encoding="utf-8"))
        return stored

    def _files(self, folder: Path) -> tuple[Path, Path, Path]:
        """Rows, summary, journal."""
        return tuple(folder / f"{self.name}{end}" for end in (".jsonl", ".json", ".partial.jsonl"))  # type: ignore[return-value]

    def _earlier(self, key: str) -> Path:
        return self.out / "earlier" / key

    def _whole(self, folder: Path) -> dict[str, Any] | None:
        """The summary of the finished evaluation in a folder, whatever its key; None if there is none."""
        rows_file, summary_file, _ = self._files(folder)
        if not summary_file.exists() or not rows_file.exists():
            return None
        try:
            summary = read_json(summary_file)
        except BadInput:
            return None
        if not isinstance(summary, dict) or not {"key", "n_questions", "samples"} <= summary.keys():
            return None
        with rows_file.open("rb") as stream:
            whole = sum(line.endswith(b"\n") for line in stream)  # a torn last one does not count
        return summary if whole == summary["n_questions"] * summary["samples"] else None

    def _make_room(self) -> None:
        """Keep what is finished under another key; copied, so that it is in one place or the other at any time."""
        there = self._whole(self.out)
        if there is not None and there["key"] != self.key:
            kept = self._earlier(there["key"])
            kept.mkdir(parents=True, exist_ok=True)
            for file in (self.rows_file, self.summary_file):
                shutil.copyfile(file, kept / file.name)
        self.summary_file.unlink(missing_ok=True)  # it must not stand beside the rows of another

    def _move_journal(self, source: Path, target: Path) -> None:
        journal = self._files(source)[2]
        if journal.exists():
            target.mkdir(parents=True, exist_ok=True)
            os.replace(journal, self._files(target)[2])
