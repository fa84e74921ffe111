"""What a user is told when something is wrong, and the exit status that goes with it."""

from __future__ import annotations

import difflib
import errno
import sys
from collections.abc import Callable, Iterable


class KrpoError(Exception):
    """A failure with a message that a user can act on: no traceback is shown. Exit status 1."""

    exit_code = 1


class BadInput(KrpoError):
    """Something in a file, an option or an argument is wrong. Exit status 2."""

    exit_code = 2


def nearest(name: object, known: Iterable[str], *, most: int = 3) -> str:
    """A phrase that names the known names closest to ``name``, or all of them if none is close.

    >>> nearest("kpro", ["grpo", "krpo"])
    'did you mean krpo or grpo?'
    """
    names = sorted(set(known))
    close = difflib.get_close_matches(str(name), names, n=most, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(names)}" if names else "none are known"


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that there is no space left; libraries in Rust say so in words only."""
    return (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or (
        "No space left on device" in str(error)
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; torch has an exception for the GPU's, and words for the CPU's."""
    text = str(error).lower()
    told = "out of memory" in text or "allocate memory" in text
    return told or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def reason_of(error: BaseException) -> str:
    """One line that says why a run ended."""
    first = next(iter(str(error).strip().splitlines()), "")
    if isinstance(error, KrpoError):
        return first
    if is_disk_full(error):
        return "the disk is full"
    if is_out_of_memory(error):
        return f"out of memory: {first}" if first else "out of memory"
    return f"{type(error).__name__}: {first}"


def run_cli(body: Callable[[], int | None]) -> int:
    """Run a command's body; turn what a user can mend into one line on standard error and an exit status.

    Bad input exits with 2; a failed run, a full disk and an interrupt with 1. A programming error keeps its traceback.
    """
    try:
        return body() or 0
    except KrpoError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted: what was finished is kept; the same command goes on from there", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of a pipe went away, as in `krpo-report ... | head`
        sys.stderr.close()
        return 1
    except PermissionError as error:
        print(f"error: no permission for {error.filename}", file=sys.stderr)
        return 2
    except Exception as error:
        if not is_disk_full(error):
            raise
        where = getattr(error, "filename", None)
        print(f"error: the disk is full{f' ({where})' if where else ''}; what was finished is kept", file=sys.stderr)
        return 1
