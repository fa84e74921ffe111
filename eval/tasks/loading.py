"""From a task's name to the task: lm-eval's own, those of `krpo.tasks`, a user's YAML file; local data or the hub's."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

from eval.spec import EvalSpec
from eval.tasks.local import LOCAL, fingerprint_of, read_splits
from eval.tasks.task import EvalTask, quiet
from krpo.errors import BadInput, KrpoError, nearest

OWN = ("sums", "arithmetic", "gsm8k_think", "math500_think", "math500", "svamp")


def load_tasks(spec: EvalSpec, chat: Callable[..., str] | None = None) -> list[EvalTask]:
    """The tasks of a specification, ready to ask. Without a chat template they are kept for the next call.

    Raises `BadInput` for an unknown name, a missing or malformed data file, or data that cannot be reached.
    """
    folder = Path(spec.data_dir) if spec.data_dir else None
    loaded: list[EvalTask] = []
    for name in spec.tasks:
        local = folder if folder is not None and name in LOCAL else None
        stamp = fingerprint_of(local, name) if local else ""
        loaded += _load(name, local, stamp, spec.limit) if chat is None else _load_anew(name, local, spec.limit, chat)
    return loaded


def _load_anew(name: str, folder: Path | None, limit: int | None, chat: Callable[..., str] | None) -> list[EvalTask]:
    with quiet():
        return [EvalTask(task, limit, chat) for task in _lm_eval_tasks(name, folder)]


@lru_cache(maxsize=32)
def _load(name: str, folder: Path | None, stamp: str, limit: int | None) -> list[EvalTask]:
    return _load_anew(name, folder, limit, None)


def _lm_eval_tasks(name: str, folder: Path | None) -> list[Any]:
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._yaml_loader import load_yaml

    few = TaskManager(include_defaults=False)  # a full scan of lm-eval's folder takes seconds: only where needed
    if name in OWN:
        config = load_yaml(Path(__file__).parent / f"{name}.yaml")
        if folder is not None:
            config["dataset_kwargs"] = {"data_dir": str(folder)}
        if name == "math500":
            config["fewshot_config"] = {"sampler": "first_n", "samples": _minerva_examples()}
        return list(_reached(name, lambda: few.load([config]))["tasks"].values())
    if folder is not None:
        config = {**load_yaml(_stock_yaml(name)), "custom_dataset": partial(_dataset, name, folder)}
        return list(few.load([config])["tasks"].values())
    if name.endswith((".yaml", ".yml")):
        return list(_reached(name, lambda: few.load([str(_own_file(name))]))["tasks"].values())
    stock = _all_tasks()
    if name not in stock.task_index:
        raise BadInput(f"no task '{name}'; {nearest(name, {*OWN, *stock.all_tasks})}")
    return list(_reached(name, lambda: stock.load([name]))["tasks"].values())


def _reached(name: str, load: Callable[[], Any]) -> Any:
    """What ``load`` gives, or what a user can do where it fails."""
    try:
        return load()
    except (ConnectionError, OSError) as error:
        local = f"; with --data-dir it is read from {' and '.join(LOCAL[name].files.values())}" if name in LOCAL else ""
        raise BadInput(f"task {name}: its data cannot be reached ({_first_line(error)}){local}") from None
    except (ImportError, KeyError, TypeError, ValueError) as error:
        raise KrpoError(f"task {name}: lm-eval cannot load it ({_first_line(error)})") from None


def _own_file(name: str) -> Path:
    file = Path(name)
    if not file.is_file():
        raise BadInput(f"task {name}: no such file")
    return file.resolve()


@cache
def _all_tasks() -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager()


def _stock_yaml(name: str) -> Path:
    import lm_eval.tasks

    return Path(lm_eval.tasks.__file__).parent / name / f"{name}.yaml"


def _minerva_examples() -> list[dict[str, str]]:
    """The four worked examples of lm-eval's minerva tasks, whose module refuses to load beside a newer antlr4."""
    import ast

    module = ast.parse((_stock_yaml("minerva_math").parent / "utils.py").read_text(encoding="utf-8"))
    function = next(n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == "list_fewshot_samples")
    (answer,) = (n for n in function.body if isinstance(n, ast.Return))
    assert answer.value is not None
    examples: list[dict[str, str]] = ast.literal_eval(answer.value)
    return [{"prompt": e["problem"], "answer": e["solution"]} for e in examples]


def _dataset(task: str, folder: Path, **_: Any) -> dict[str, Any]:
    from datasets import Dataset

    return {split: Dataset.from_list(rows) for split, rows in read_splits(task, folder).items()}


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
