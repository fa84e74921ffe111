"""Work shared among processes: the same results in the same order, and the same errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from krpo.errors import BadInput, KrpoError
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


def end(x: int) -> int:
    if x == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def test_a_process_that_was_killed_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "processes", lambda jobs: min(2, jobs))
    with pytest.raises(KrpoError, match="was killed, perhaps because memory ran out"):
        parallel.side_by_side(end, range(40))


SLOW = """
import os, time
from reports.parallel import pool

def body(_):
    os.write(1, f"{os.getpid()}\\n".encode())  # in one piece, unlike print
    time.sleep(60)

with pool(2) as executor:
    list(executor.map(body, range(2)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
def test_processes_end_with_one_that_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", SLOW], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        parent.kill()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() and "Z" not in _state(pid) for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"
