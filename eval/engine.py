"""The backend of one process: started with the first checkpoint that needs it, handed on where it can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from eval.checkpoints import Checkpoint
from eval.spec import EvalSpec

if TYPE_CHECKING:
    from eval.backends import Backend


class Engine:
    """A backend with some checkpoint's weights in it, or none yet."""

    def __init__(self, name: Literal["hf", "vllm"], spec: EvalSpec) -> None:
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

    def on(self, checkpoint: Checkpoint) -> Backend:
        """The backend with this checkpoint's weights in it."""
        from eval.backends import make_backend, real_dtype

        if self.backend is None or (self.holds != checkpoint.path and not self.backend.swap(checkpoint.path)):
            self.close()
            self.backend = make_backend(
                self.name,
                checkpoint.path,
                dtype=real_dtype(self.spec.dtype),
                batch_size=self.spec.batch_size,
                tensor_parallel=self.spec.tensor_parallel,
            )
        self.holds = checkpoint.path
        return self.backend
