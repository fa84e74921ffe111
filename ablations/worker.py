"""What one worker process does: train a run, evaluate its checkpoint, and tell the driver how it goes."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
from pathlib import Path
from typing import Any

from ablations.executors.base import Busy, Send
from ablations.lock import RunLock
from ablations.options import Options
from ablations.plan import Cell, evaluation_key
from eval import EvalSpec, Progress, evaluate, prepare
from krpo.errors import BadInput, KrpoError, is_disk_full, reason_of
from krpo.policies import policy_path
from krpo.resume import last_complete, optimizer_steps
from krpo.rundir import RunDir
from krpo.train import train


def preload(evaluation: EvalSpec) -> None:
    """Import what every run needs, once, before the first fork: a run then starts in milliseconds."""
    prepare(evaluation)


def run_cell(cell: Cell, options: Options, send: Send) -> None:
    """Train and evaluate one cell; what is done already is not done again. Marks the run DONE or FAILED.

    Raises `Busy` where another process works on it, and whatever made the run fail.
    """
    run = cell.run
    with RunLock(run.path) as held:
        if not held:
            raise Busy
        if cell.standing(look_for_holder=False).state == "done":  # by another driver, since this one planned
            return
        started = time.monotonic()
        try:
            _make_sound(run)
            here = _train(cell, options, send)
            send({"kind": "evaluating"})
            scores = _evaluate(cell, send)
            if options.keep == "none":
                shutil.rmtree(run.checkpoint, ignore_errors=True)
            wall = {"seconds": time.monotonic() - started - here + _training_seconds(run), "bytes": _size(run.path)}
            run.mark_done(steps=cell.spec.steps, evaluation=evaluation_key(cell.evaluation), scores=scores, wall=wall)
            _say("evaluated; the run is done")
        except Exception as error:
            with contextlib.suppress(OSError):  # on a full disk the driver is told all the same
                run.mark_failed(reason_of(error), retry=may_pass(error))
            raise


def _train(cell: Cell, options: Options, send: Send) -> float:
    """Train to the end. Returns the seconds spent in steps by this process."""
    run, spec = cell.run, cell.spec
    if run.status() == "done":
        return 0.0
    seconds: list[float] = []

    def progress(row: dict[str, Any]) -> None:
        seconds.append(row.get("wall", {}).get("step_seconds", 0.0))
        if options.keep == "all":
            _keep_state(run, spec.minibatches)
        send({"kind": "step", "step": row["step"], "row": row})

    def attempt() -> None:
        train(
            spec,
            run.path,
            progress=progress,
            save_every=options.save_every or max(10, -(-spec.steps // 10)),
            held_out_every=options.held_out_every,
        )

    saved = last_complete(run.resume)
    _say(f"training from {saved.name if saved else 'the start'}; process {os.getpid()} on {socket.gethostname()}")
    try:
        attempt()
    except Exception as error:
        if saved is None or seconds or is_disk_full(error):
            raise
        _say(f"the saved state cannot be used ({reason_of(error)}); training from the start")
        _start_again(run)
        attempt()
    _say(f"trained to the end, {spec.steps} steps")
    return sum(seconds)


def _evaluate(cell: Cell, send: Send) -> dict[str, float]:
    """Evaluate the checkpoint. Returns the primary score of each task."""
    run = cell.run

    def progress(p: Progress) -> None:
        send({"kind": "evaluating", "task": p.task, "done": p.done, "total": p.total})

    def attempt() -> dict[str, float]:
        (summaries,) = evaluate([run.checkpoint], cell.evaluation, out_dirs=[run.eval], progress=progress)
        return {task: summary["scores"][summary["primary"]]["value"] for task, summary in summaries.items()}

    begun = any(run.eval.glob("*.partial.jsonl"))
    try:
        return attempt()
    except BadInput as error:
        if not begun:
            raise
        _say(f"the interrupted evaluation cannot be used ({reason_of(error)}); evaluating again")
        shutil.rmtree(run.eval, ignore_errors=True)
        return attempt()


def _make_sound(run: RunDir) -> None:
    """Remove what cannot be gone on from: a torn specification, a finished run without a whole checkpoint, a finished
    run or a saved state without all its metrics (a machine that lost power may keep the one and lose the other)."""
    try:
        spec = run.spec() if run.spec_file.exists() else None
    except BadInput:
        spec = {}
    sound = spec is None or "key" in spec
    if sound and run.status() == "done":
        sound = spec is not None and _whole(run.checkpoint) and _metrics_reach(run, int(spec["steps"]))
    elif sound and (saved := last_complete(run.resume)):
        sound = _metrics_reach(run, _steps_of(saved, spec or {}))
    if not sound:
        _say("what is here is torn or incomplete; starting again")
        _start_again(run)


def _steps_of(saved: Path, spec: dict[str, Any]) -> int:
    """Steps done in a saved state; 0 for one that cannot be read, which is `_train`'s to find."""
    try:
        return optimizer_steps(saved) // int(spec.get("minibatches", 1))
    except (BadInput, KeyError, TypeError, ValueError):
        return 0


def _metrics_reach(run: RunDir, steps: int) -> bool:
    """Whether metrics.jsonl has every step up to this one."""
    try:
        rows = run.metrics()
    except BadInput:
        return False
    return [row["step"] for row in rows][:steps] == list(range(1, steps + 1))


def _start_again(run: RunDir) -> None:
    run.clear()
    run.spec_file.unlink(missing_ok=True)


def _whole(checkpoint: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    weights = list(checkpoint.glob("*.safetensors"))
    try:
        for file in weights:
            with safe_open(file, framework="np"):  # reads the header and compares it with the file's length
                pass
    except (SafetensorError, OSError):
        return False
    return bool(weights) and (checkpoint / "config.json").exists()


def _keep_state(run: RunDir, minibatches: int) -> None:
    """`--keep-checkpoints all`: copy the newest saved state's policy to `checkpoints/step-N`."""
    saved = last_complete(run.resume)
    if saved is None:
        return
    target = run.path / "checkpoints" / f"step-{int(saved.name.split('-')[-1]) // minibatches}"
    if not target.exists():
        temporary = target.with_name(f".{target.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        state_only = ("optimizer*", "trainer_state.json", "training_args*", "advantage_estimator.json", "COMPLETE")
        shutil.copytree(saved, temporary, ignore=shutil.ignore_patterns(*state_only))
        os.replace(temporary, target)


def _training_seconds(run: RunDir) -> float:
    """Over all attempts, from the steps' own times."""
    return sum(row.get("wall", {}).get("step_seconds", 0.0) for row in run.metrics())


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def _say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)


def may_pass(error: BaseException) -> bool:
    """Whether the same run can succeed when it is simply started again: the machine was at fault, not the run."""
    return is_disk_full(error) or isinstance(error, MemoryError)


def evaluate_base(policy: str, evaluation: EvalSpec, out: Path, send: Send) -> None:
    """Score the untrained policy, so that a report can say what training gained. Raises `Busy` as `run_cell` does."""
    with RunLock(out) as held:
        if not held:
            raise Busy
        send({"kind": "evaluating"})
        try:
            evaluate([Path(policy_path(policy))], evaluation, out_dirs=[out / "eval"])
        except KrpoError:
            if not any((out / "eval").glob("*.partial.jsonl")):
                raise
            shutil.rmtree(out / "eval", ignore_errors=True)
            evaluate([Path(policy_path(policy))], evaluation, out_dirs=[out / "eval"])
