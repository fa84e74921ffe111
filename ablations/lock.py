"""One process at a time in a run directory, on one machine or on several that share a file system.

The lock is the kernel's (POSIX, `fcntl`): it goes away with the process that holds it, however that ends, and it is not
inherited by children. `<run>/lock` says who holds it, for people to read. A process that holds a lock must not ask for
its holder: closing a second descriptor of the file would let the lock go.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import Any


class RunLock:
    """`with RunLock(folder) as held:`, where ``held`` is False if another process has it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "lock"
        self._handle: int | None = None

    def __enter__(self) -> bool:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        for attempt in range(5):  # someone who only looks (`holder`) has it for an instant
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if attempt == 4:
                    os.close(handle)
                    return False
                time.sleep(0.02)
        self._handle = handle
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode())
        return True

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def holder(folder: Path) -> dict[str, Any] | None:
    """Who works in the folder (`host`, `pid`; empty where that is not known), or None if nobody does."""
    try:
        handle = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except OSError:
        try:
            found = json.loads(os.read(handle, 4096))
        except ValueError:
            found = {}
        return found if isinstance(found, dict) else {}
    finally:
        os.close(handle)
