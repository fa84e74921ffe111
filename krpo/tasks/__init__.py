"""Tasks: one per file; questions, gold answers, verifier.

    task = make_task("sums", levels=["hard"])
    row = task.train_rows(seed=0, n=1)[0]
    task.verify("<answer>12</answer>", row).correct

No torch is needed here.
"""

from krpo.tasks import arithmetic, gsm8k, math, reasoning_gym, sums  # noqa: F401  (they register themselves)
from krpo.tasks.base import Row, Task
from krpo.tasks.registry import available_tasks, make_task, register_task

__all__ = ["Row", "Task", "available_tasks", "make_task", "register_task"]
