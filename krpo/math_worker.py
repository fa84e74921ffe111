"""The process that math-verify runs in; `krpo.math_verifier` starts it by this file and may kill it at any time.

JSON Lines: in `[gold, answer, exact]`, out true or false, after a first line that says it is ready. It limits its own
memory. math-verify's time limits are off: they need whole seconds and SIGALRM, and do not stop C code.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
from typing import Any, TextIO

MEMORY = 4 << 30  # bytes of address space


def main() -> None:
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints is no reply
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)
    equal = _load()
    _say(replies, "ready")
    for line in sys.stdin:
        gold, answer, exact = json.loads(line)
        try:
            _say(replies, equal(gold, answer, exact))
        except (Exception, RecursionError, MemoryError):
            _say(replies, False)


def _load() -> Any:
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    boxed = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]

    def parsed(text: str, exact: bool) -> Any:
        if exact:
            return parse(f"$\\boxed{{{text}}}$", boxed, parsing_timeout=None)
        return parse(text, parsing_timeout=None)

    def equal(gold: str, answer: str, exact: bool) -> bool:
        return bool(verify(parsed(gold, True), parsed(answer, exact), timeout_seconds=None))

    return equal


def _say(replies: TextIO, value: Any) -> None:
    replies.write(json.dumps(value) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
