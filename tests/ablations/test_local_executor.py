"""The local executor: however a job ends, it ends alone and with its reason."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from ablations.executors import make_executor
from ablations.executors.base import Busy, Job
from ablations.executors.local import LocalExecutor
from eval.spec import EvalSpec
from krpo.errors import BadInput, KrpoError


def succeed(send) -> None:
    print("a line")
    send({"kind": "step", "step": 1, "row": {}})


def fail(send) -> None:
    raise KrpoError("the loss is no number")


def break_down(send) -> None:
    raise ZeroDivisionError("a programming error")


def be_busy(send) -> None:
    raise Busy


def be_killed(send) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang(send) -> None:
    time.sleep(60)


def eat(send) -> None:
    hoard = bytearray(600_000_000)
    while hoard:
        time.sleep(0.1)


def say_gpu(send) -> None:
    send({"kind": "step", "step": 1, "row": {"gpu": os.environ.get("CUDA_VISIBLE_DEVICES")}})
    time.sleep(0.5)


def carry_out(executor: LocalExecutor, tmp_path: Path, *works) -> dict[str, list]:
    jobs = [Job(f"{n} {w.__name__}", partial(w), tmp_path / f"{n}" / "log.txt") for n, w in enumerate(works)]
    events: dict[str, list] = {work.__name__: [] for work in works}
    for event in executor.execute(jobs):
        if event is not None:
            events[event.job.name.split(" ")[1]].append((event.kind, event.data))
    return events


def test_each_end_is_told_with_its_reason(tmp_path):
    events = carry_out(LocalExecutor(2), tmp_path, succeed, fail, break_down, be_busy, be_killed, succeed)
    assert [kind for kind, _ in events["succeed"]] == ["started", "step", "done"] * 2 or (
        sorted(kind for kind, _ in events["succeed"]) == ["done", "done", "started", "started", "step", "step"]
    )
    assert events["fail"][-1] == ("failed", {"reason": "the loss is no number"})
    assert events["break_down"][-1] == ("failed", {"reason": "ZeroDivisionError: a programming error"})
    assert events["be_busy"][-1] == ("busy", {})
    assert events["be_killed"][-1] == ("died", {"reason": "killed by SIGKILL", "retry": True})
    assert (tmp_path / "0" / "log.txt").read_text() == "a line\n"
    assert (tmp_path / "1" / "log.txt").read_text() == "error: the loss is no number\n"  # no traceback for a user
    assert "Traceback" in (tmp_path / "2" / "log.txt").read_text()


def test_what_hangs_or_eats_memory_is_stopped_and_the_rest_goes_on(tmp_path):
    hanging = carry_out(LocalExecutor(2, hang_minutes=0.03), tmp_path, hang, succeed)
    assert hanging["hang"][-1] == ("died", {"reason": "no progress for 0.03 minutes (--hang-minutes)", "retry": False})
    assert hanging["succeed"][-1][0] == "done"
    import psutil

    limit = psutil.Process().memory_info().rss / 1e9 + 0.3
    eating = carry_out(LocalExecutor(2, memory_gb=limit), tmp_path, eat, succeed)
    kind, data = eating["eat"][-1]
    assert kind == "died"
    assert data["reason"].startswith("out of memory: ")
    assert "--memory" in data["reason"]
    assert not data["retry"]
    assert eating["succeed"][-1][0] == "done"


def test_jobs_are_spread_over_the_gpus(tmp_path):
    events = carry_out(LocalExecutor(4, gpus=["3", "5"]), tmp_path, say_gpu, say_gpu, say_gpu, say_gpu)
    seen = sorted(data["row"]["gpu"] for kind, data in events["say_gpu"] if kind == "step")
    assert seen == ["3", "3", "5", "5"]


def test_as_many_workers_as_gpu_slots(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    assert make_executor("local", evaluation=EvalSpec(tasks=("sums",)), slots_per_gpu=3).workers == 6
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert make_executor("local", evaluation=EvalSpec(tasks=("sums",))).workers == len(os.sched_getaffinity(0))


def test_an_executor_that_is_not_installed_or_not_meant_says_so(monkeypatch):
    import sys

    evaluation = EvalSpec(tasks=("sums",))
    with pytest.raises(BadInput, match="the local executor has no options"):
        make_executor("local", evaluation=evaluation, options=["num_gpus=1"])
    for module, name in (("ray", "ray"), ("submitit", "slurm")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(BadInput, match=rf"pip install 'krpo\[{name}\]'"):
            make_executor(name, evaluation=evaluation)
