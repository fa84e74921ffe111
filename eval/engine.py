"""The backend of one process: started with the first checkpoint that needs it, handed on where that can be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from eval.spec import EvalSpec

if TYPE_CHECKING:
    from eval.backends import Backend, BackendName, Reply
    from eval.job import Job


class Engine:
    """A backend with some checkpoint's weights in it, or none yet."""

    def __init__(self, name: BackendName, spec: EvalSpec) -> None:
        self.name, self.spec = name, spec
        self.backend: Backend | None = None
        self.holds: str | None = None

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.backend is not None:
            self.backend.close()
        self.backend = self.holds = None

    def on(self, checkpoint: str) -> Backend:
        """The backend with this checkpoint's weights in it."""
        from eval.backends import make_backend, real_dtype

        if self.backend is None or (self.holds != checkpoint and not self.backend.swap(checkpoint)):
            self.close()
            self.backend = make_backend(
                self.name,
                checkpoint,
                dtype=real_dtype(self.spec.dtype),
                batch_size=self.spec.batch_size,
                tensor_parallel=self.spec.tensor_parallel,
            )
        self.holds = checkpoint
        return self.backend

    def answers(self, groups: Iterable[list[Job]]) -> Iterator[tuple[Job, list[int], Sequence[Reply]]]:
        """Work through the jobs, one checkpoint's after the other's. Yields each batch with its replies."""
        for jobs in groups:
            for job in jobs:
                asked = job.open()
                if job.complete:  # killed after its last batch
                    yield job, [], []
                    continue
                backend = self.on(job.checkpoint.path)
                for batch in job.missing(backend.split(asked)):
                    yield job, batch, backend.reply([asked[i] for i in batch])
