"""`render`: grid directories -> report directory. Nothing is done twice: an unchanged grid gives its report at once."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from krpo.errors import BadInput
from krpo.rundir import find_runs
from reports.output import EXCLUSIONS, check_ours, check_writable, digest_of, write, written
from reports.selection import Selection, parse
from reports.stored import check_directory, distinct

COMPACT = ("study.json", "runs.jsonl", "*.csv", "*.csv.gz")
LIBRARIES = ("numpy", "scipy", "pandas", "matplotlib", "fonttools", "jinja2")
_RUN_FILES = ("spec.yaml", "manifest.json", "metrics.jsonl", "heldout.jsonl", "DONE", "FAILED")


@dataclass(frozen=True)
class Rendered:
    """Where the page is, whether it had to be made, and the table of what was left out or mended, if there is one."""

    page: Path
    changed: bool
    exclusions: Path | None = None


def render(
    root: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    select: Sequence[str] = (),
    since: str | None = None,
) -> Path:
    """Render the report of a grid directory (or of several, merged) and return the path of its `index.html`.

    ``out`` defaults to `<root>/report`, and for several grids to `<first root's parent>/<names joined by +>/report`.
    ``select`` (`["estimator=krpo", ...]`) and ``since`` (a date) keep some of the runs.

    Raises `BadInput` where there is nothing to report on or where the output cannot be written.
    """
    return render_report(root, out, parse(select, since)).page


def render_report(
    root: str | Path | Sequence[str | Path], out: str | Path | None = None, selection: Selection | None = None
) -> Rendered:
    roots = distinct([Path(root)] if isinstance(root, (str, Path)) else [Path(one) for one in root])
    folder = Path(out) if out is not None else _default(roots)
    selection = selection or Selection()
    inputs = fingerprint(roots, selection)
    page = folder / "index.html"
    if (before := written(folder, inputs)) is not None:
        return Rendered(page, changed=False, exclusions=_exclusions(folder, before))
    for one in roots:
        check_directory(one)
    check_writable(folder)
    check_ours(folder, ["index.html"])
    files = _files(roots, selection)
    write(folder, files, inputs)
    return Rendered(page, changed=True, exclusions=_exclusions(folder, files))


def _exclusions(folder: Path, files: Iterable[str]) -> Path | None:
    return folder / EXCLUSIONS if EXCLUSIONS in files else None


def is_probe(root: Path) -> bool:
    """Whether a folder is what `krpo-probe` writes, or its table alone."""
    table = root / "results.csv"
    return table.is_file() and not any((root / name).exists() for name in ("grid.yaml", "study.json"))


def _files(roots: Sequence[Path], selection: Selection) -> dict[str, bytes]:
    probes = [root for root in roots if is_probe(root)]
    if probes and (len(roots) > 1 or selection.words):
        raise BadInput(f"{probes[0]}: a probe has a report of its own; name it alone and without a selection")
    # pandas and matplotlib: only now
    if probes:
        from reports.probe import probe_files

        return probe_files(probes[0])
    from reports.build import build_files

    return build_files(roots, selection)


def _default(roots: Sequence[Path]) -> Path:
    if len(roots) == 1:
        return roots[0] / "report"
    name = "+".join(root.resolve().name for root in roots)
    if len(name.encode()) > 200:  # more than a file system takes
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        name = f"{roots[0].resolve().name[:40]}+{len(roots) - 1} more, {digest}"
    return roots[0].resolve().parent / name / "report"


def fingerprint(roots: Sequence[Path], selection: Selection) -> str:
    """A hash of everything that the report depends on: stored data, this package's code, the libraries' versions."""
    whole = hashlib.sha256(f"{selection.words}\n".encode())
    for name in LIBRARIES:
        whole.update(f"{name} {importlib.metadata.version(name)}\n".encode())
    here = Path(__file__).parent
    code = [p for kind in ("*.py", "*.html", "*.css") for p in here.rglob(kind)] + list(
        (here.parent / "krpo").glob("*.py")
    )
    for file in sorted(code):
        whole.update(f"{file.relative_to(here.parent)} {digest_of(file)}\n".encode())
    for root in roots:
        whole.update(f"root {root}\n".encode())
        for file in _inputs(root):
            whole.update(f"{file.relative_to(root)} {digest_of(file)}\n".encode())
    return whole.hexdigest()


def _inputs(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        return
    yield root / "grid.yaml"
    yield from sorted(file for name in COMPACT for file in root.glob(name))
    for run in find_runs(root):
        yield from (run.path / name for name in _RUN_FILES)
        yield from sorted(run.eval.glob("*.json"))
        yield from sorted(run.eval.glob("*.jsonl"))
    yield from sorted(root.glob("base/*/eval/*.json"))
