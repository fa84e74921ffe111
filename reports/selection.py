"""`--select` and `--since`: a report on some of the runs, which then says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from krpo.errors import BadInput, nearest
from krpo.spec import field_names
from reports.names import named

if TYPE_CHECKING:  # an unchanged report loads no pandas
    from reports.rundirs import StoredRun


@dataclass(frozen=True)
class Selection:
    """Which runs to keep: ``fields`` holds (key, value) pairs, one of which must fit per key; ``since`` is in UTC."""

    fields: tuple[tuple[str, str], ...] = ()
    since: datetime | None = None

    @property
    def words(self) -> str:
        """`estimator = krpo or grpo; started since 2026-11-01`; empty where everything is kept."""
        keys = dict.fromkeys(key for key, _ in self.fields)
        told = [f"{key} = {' or '.join(value for k, value in self.fields if k == key)}" for key in keys]
        if self.since is not None:
            told.append(f"started since {self.since:%Y-%m-%d %H:%M} UTC")
        return "; ".join(told)

    def apply(self, runs: Sequence[StoredRun]) -> list[StoredRun]:
        """The runs that fit. Raises `BadInput` for an unknown key, and where nothing fits."""
        for key, value in self.fields:
            if key not in field_names():
                raise BadInput(f"--select {key}={value}: unknown key; {nearest(key, field_names())}")
            known = {_shown(one, key) for one in runs}
            if not any(_is(one, key, value) for one in runs):
                more = f"; for several, repeat --select {key}=..." if "," in value and "(" not in value else ""
                raise BadInput(f"--select {key}={value}: no run has it; {nearest(value, known)}{more}")
        kept = [one for one in runs if self._fits(one)]
        if not kept:
            raise BadInput(f"no run fits: {self.words}")
        return kept

    def _fits(self, one: StoredRun) -> bool:
        for key in {key for key, _ in self.fields}:
            if not any(_is(one, key, value) for k, value in self.fields if k == key):
                return False
        if self.since is None:
            return True
        started = one.manifest.get("wall.started")
        return isinstance(started, (int, float)) and started >= self.since.timestamp()


def _is(one: StoredRun, key: str, text: str) -> bool:
    """Whether a run has the setting that was typed; a number in any form, as 1e-4 or 0.0001."""
    value = one.spec.get(key)
    try:
        return _shown(one, key) == text or (isinstance(value, (int, float)) and float(text) == value)
    except ValueError:
        return False


def _shown(one: StoredRun, key: str) -> str:
    value = one.spec.get(key)
    return named(value).label if key in ("estimator", "noise", "task") else str(value)


def parse(select: Sequence[str], since: str | None) -> Selection:
    """The options as they were typed. Raises `BadInput` for what is no `key=value` or no date."""
    fields = []
    for text in select:
        key, equals, value = text.partition("=")
        if not equals:
            raise BadInput(f"--select {text}: expected key=value, as in --select estimator=krpo")
        fields.append((key.strip(), value.strip()))
    when = None
    if since is not None:
        try:
            when = datetime.fromisoformat(since)
        except ValueError:
            raise BadInput(f"--since {since}: expected a date, as in 2026-11-01 or 2026-11-01T12:30") from None
        when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    return Selection(tuple(fields), when)
