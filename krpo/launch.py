"""The processes of one run, as `accelerate launch` or torchrun start them: the first one writes, all of them train."""

from __future__ import annotations

import os
from dataclasses import dataclass

from krpo.errors import BadInput

_SHARDED = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is."""

    rank: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Return once every process of the run has come here."""
        if self.count > 1:
            import torch

            torch.distributed.barrier()

    def share(self, name: str, amount: int) -> int:
        """This process's part of an amount. Raises `BadInput` where it cannot be split evenly."""
        if amount % self.count:
            raise BadInput(f"{name} is {amount}, which {self.count} processes cannot share evenly")
        return amount // self.count


ALONE = Processes()


def launched() -> Processes:
    """What the launcher says; nothing is started. Without a launcher, one process."""
    return Processes(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def join(*, cpu: bool) -> Processes:
    """Meet the run's other processes, if a launcher started any: by gloo on CPUs, by NCCL on GPUs.

    Raises `BadInput` for FSDP and DeepSpeed, whose weights lie in parts: `krpo.train` would save one part as a whole.
    """
    processes = launched()
    if processes.count == 1:
        return processes
    for variable, name in _SHARDED.items():
        if os.environ.get(variable, "false").lower() in ("true", "1", "yes"):
            raise BadInput(
                f"the launcher asks for {name}, and krpo-train knows one process or DDP only; "
                "use KRPOTrainer in a script of your own (docs/training.md)"
            )
    from accelerate import PartialState

    PartialState(cpu=cpu)
    return processes
