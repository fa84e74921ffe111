"""Work shared among processes: the same results in the same order, and the same errors."""

from __future__ import annotations

import os

import pytest

from krpo.errors import BadInput
from reports import parallel


def where(x: int, y: str) -> tuple[int, str, int]:
    return x, y, os.getpid()


def refuse(x: int) -> int:
    if x == 7:
        raise BadInput("seven: not wanted")
    return x


@pytest.mark.parametrize(("cores", "here"), [(1, True), (2, False)])
def test_results_keep_their_order(cores: int, here: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "processes", lambda jobs: min(cores, jobs))
    found = parallel.side_by_side(where, range(40), ["a"] * 40)
    assert [row[:2] for row in found] == [(i, "a") for i in range(40)]
    assert (os.getpid() in {row[2] for row in found}) == here


def test_few_calls_are_not_worth_a_process() -> None:
    assert {row[2] for row in parallel.side_by_side(where, range(9), ["a"] * 9)} == {os.getpid()}


def test_what_was_raised_there_is_raised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "processes", lambda jobs: min(2, jobs))
    with pytest.raises(BadInput, match="seven: not wanted"):
        parallel.side_by_side(refuse, range(40))
