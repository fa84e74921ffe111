"""How runs are carried out. Nothing here changes a number, so nothing here is part of a run's key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Keep = Literal["none", "last", "all"]


@dataclass(frozen=True)
class Options:
    save_every: int | None = None  # rollout batches between two saved states; None: a tenth of the run, at least 10
    keep: Keep = "last"  # checkpoints: none after the evaluation, the last one, or every saved state's policy as well
    held_out_every: int | None = None  # rollout batches between two points of the held-out curve; None: no curve
