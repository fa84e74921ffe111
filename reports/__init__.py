"""Reports: runs -> tables -> figures -> one page. Everything from stored data.

    import reports
    page = reports.render("runs/noise")               # figures, tables and index.html; returns its path
    study = reports.read_study(["runs/noise"])        # pandas frames: study.runs, study.steps, study.scores
    reports.export("runs/noise", "reports/data/noise")  # the results as one small folder, to be reported on like runs
    from reports import statistics                    # paired t, sign-flip, bands, Holm, power, ...

Names are imported when first used, so `import reports` loads neither pandas nor matplotlib; torch is never loaded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.report import render
    from reports.tables import Study, export, read_study

_HOMES = {
    "render": "reports.report",
    "read_study": "reports.tables",
    "Study": "reports.tables",
    "export": "reports.tables",
}

__all__ = ["Study", "export", "read_study", "render"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'reports' has no attribute {name!r}")
