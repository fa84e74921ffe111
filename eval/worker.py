"""A process that answers for `eval.workers.Crew`: it holds one backend, and does what it is told on one connection."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from eval.engine import Engine
from krpo.errors import KrpoError

Say = Callable[[Any], None]


def main(descriptor: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    connection = Connection(descriptor)
    backend_name, spec = connection.recv()
    with Engine(backend_name, spec) as engine:
        try:
            _serve(connection, engine)
        except (EOFError, BrokenPipeError):
            return
        except KrpoError as error:
            connection.send(("failed", error))
        except Exception as error:
            connection.send(("failed", RuntimeError("".join(traceback.format_exception(error)))))


def _serve(connection: Connection, engine: Engine) -> None:
    """Orders: `("open", checkpoint, asked of each job)` and `("answer", job, batch)`; None ends it."""
    from krpo.policies import load_policy  # noqa: F401  torch is loaded while the parent gets the first order ready

    asked: list[Any] = []
    checkpoint = ""
    while (order := connection.recv()) is not None:
        kind, *content = order
        if kind == "open":
            checkpoint, asked = content
            connection.send(("opened", [engine.on(checkpoint).split(items) for items in asked]))
        else:
            job, batch = content
            connection.send(("answers", engine.on(checkpoint).reply([asked[job][i] for i in batch])))


def _end_with_parent() -> None:
    """Standard input is a pipe from the parent that carries nothing: it ends when the parent does, killed or not."""
    sys.stdin.buffer.read()
    os._exit(1)
