"""The estimator sheet: `python -m krpo.advantages.sheet` measures every estimator and writes

    docs/estimators.md           the sheet, to read
    docs/estimators.csv          one row for each estimator: formula, source, every number with its standard error
    docs/estimators_drift.csv    the study of drifting pass rates

All of it is simulated (see `krpo.advantages.measure`), seeded, and takes about a minute on one core. A test fails
where the committed sheet no longer matches the code.
"""

from __future__ import annotations

import argparse
import csv
import inspect
import io
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import cast

from krpo.advantages import drift, measure, predictions
from krpo.advantages.measure import Number, Setting
from krpo.advantages.registry import BASELINES, ESTIMATORS, SCALES, available_estimators
from krpo.advantages.sheet_text import PAGE
from krpo.config import Named, to_plain
from krpo.errors import run_cli
from krpo.rundir import write_text

SETTING = Setting()
GROUPS = (2, 4, 8, 16, 32)
G = 12
FLIP, GAUSSIAN = Named("flip", {"rate": 0.2}), Named("gaussian", {"sigma": 0.1})
DRIFTS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)

Values = dict[str, float]

FIXED: dict[str, Callable[[str], float]] = {
    "sum_all_right": lambda name: measure.all_equal_sum(name, 1.0),
    "sum_all_wrong": lambda name: measure.all_equal_sum(name, 0.0),
    "shift_response": measure.shift_response,
    "scale_exponent": measure.scale_exponent,
}
"""Columns without chance."""


def simulated(name: str, setting: Setting) -> dict[str, Number]:
    """Columns with a standard error."""
    wrong_flip, _ = measure.sign_mismatch(name, setting, G, FLIP)
    wrong_gaussian, wrong_weight = measure.sign_mismatch(name, setting, G, GAUSSIAN)
    return {
        "rms_over_grpo": measure.rms_over_grpo(name, setting, G),
        "order_share": measure.order_share(name, setting, G),
        "effective_share": measure.effective_share(name, setting, G),
        "sign_mismatch_flip": wrong_flip,
        "sign_mismatch_gaussian": wrong_gaussian,
        "wrong_weight_gaussian": wrong_weight,
        **{f"gradient_variance_G{g}": measure.gradient_variance(name, setting, g) for g in GROUPS},
    }


def names() -> list[str]:
    """The estimators of the sheet: all but `composed`, which is any of them."""
    return [name for name in available_estimators() if name != "composed"]


def significant(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")


def fixed_values(name: str) -> Values:
    return {column: round(function(name), 6) + 0.0 for column, function in FIXED.items()}


def simulated_values(name: str, setting: Setting) -> Values:
    values = {}
    for column, number in simulated(name, setting).items():
        values[column] = significant(number.value, 5)
        values[f"{column}_stderr"] = significant(number.stderr, 2)
    return values


def all_values(setting: Setting, progress: Callable[[str], None] = lambda name: None) -> dict[str, Values]:
    """Every number of the sheet, by estimator and column."""
    table = {}
    for name in names():
        progress(name)
        table[name] = {**fixed_values(name), **simulated_values(name, setting)}
    return table


def to_csv(rows: Iterable[dict[str, object]]) -> str:
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def sheet_rows(table: dict[str, Values]) -> list[dict[str, object]]:
    facts = {name: ESTIMATORS.entry(name).facts for name in table}
    return [
        {"estimator": n, "formula": facts[n]["formula"], "source": facts[n]["source"], **values}
        for n, values in table.items()
    ]


def drift_rows() -> list[dict[str, object]]:
    """The study of drifting pass rates: over group sizes at one drift, and over drifts at one group size."""
    rows: list[dict[str, object]] = []
    settings = [(drift.Drift(), g) for g in GROUPS] + [
        (drift.Drift(drift=d), 4) for d in DRIFTS if d != drift.Drift().drift
    ]
    for setting, g in settings:
        for label, outcome in drift.study(setting, g).items():
            row: dict[str, object] = {"drift": setting.drift, "group_size": g, "estimator": label}
            for column, number in outcome._asdict().items():
                row[column] = significant(number.value, 5)
                row[f"{column}_stderr"] = significant(number.stderr, 2)
            rows.append(row)
    return rows


# --- the page ---------------------------------------------------------------------------------------------------------


def shown(value: float) -> str:
    """Three significant digits, to at most three places."""
    return f"{round(value, 3) + 0.0:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def with_error(values: Values, column: str) -> str:
    """A value to the first significant digit of its standard error, and that."""
    value, error = values[column], values[f"{column}_stderr"]
    if error == 0:
        return shown(value)
    places = -int(f"{error:.0e}".split("e")[1])
    if places > 5:
        return f"{value:.3g}"
    return f"{value:.{max(places, 0)}f} ± {error:.{max(places, 0)}f}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _parts() -> str:
    rows = []
    for kind, registry in (("baseline", BASELINES), ("scale", SCALES)):
        for name in registry.names():
            doc = (registry.entry(name).factory.__doc__ or "").split("\n\n")[0].split("\n")[0]
            rows.append((kind, f"`{name}`", doc.replace("|", "\\|")))
    return markdown_table(("part", "name", "what it is"), rows)


def parameters(name: str) -> str:
    """The parameters of an estimator with their defaults."""
    signature = inspect.signature(ESTIMATORS.entry(name).factory).parameters
    return Named("", {key: to_plain(p.default) for key, p in signature.items()}).label.strip("()")


def _formulas(table: dict[str, Values]) -> str:
    facts = {name: ESTIMATORS.entry(name).facts for name in table}
    rows = [
        (f"`{n}`", str(facts[n]["formula"]).replace("|", "\\|"), parameters(n), str(facts[n]["source"])) for n in table
    ]
    return markdown_table(("estimator", "advantage", "parameters", "source"), rows)


def _behaviour(table: dict[str, Values]) -> str:
    fixed = {
        "sum_all_right": "sum, all right",
        "sum_all_wrong": "sum, all wrong",
        "shift_response": "shift",
        "scale_exponent": "scale",
    }
    chance = {
        "rms_over_grpo": "RMS / GRPO",
        "order_share": "order share",
        "effective_share": "effective n / G",
        "sign_mismatch_flip": "wrong way, flip",
        "sign_mismatch_gaussian": "wrong way, Gauss",
        "wrong_weight_gaussian": "wrong weight, Gauss",
    }
    rows = [
        (f"`{name}`", *(shown(v[c]) for c in fixed), *(with_error(v, c) for c in chance)) for name, v in table.items()
    ]
    return markdown_table(("estimator", *fixed.values(), *chance.values()), rows)


def _variances(table: dict[str, Values]) -> str:
    rows = [(f"`{n}`", *(with_error(v, f"gradient_variance_G{g}") for g in GROUPS)) for n, v in table.items()]
    return markdown_table(("estimator", *(f"G = {g}" for g in GROUPS)), rows)


def _exact() -> str:
    sizes = (2, 4, 8, 12, 16, 32)
    rows = []
    for name, rate in (("krpo", 0.5), ("krpo", 0.9), ("krpo_uniform", 0.5), ("krpo_uniform", 0.9),
                       ("krpo_permavg", 0.5), ("rloo", 0.5)):  # fmt: skip
        exact = [predictions.exact_relative_variance(predictions.matrix_of(name, g), rate) for g in sizes]
        rows.append((f"`{name}`", shown(rate), *(f"{value:.3f}" for value in exact)))
    return markdown_table(("estimator", "pass rate", *(f"G = {g}" for g in sizes)), rows)


def _cosines() -> str:
    found = {g: predictions.cosines(predictions.Toy(), g) for g in (4, 12)}
    rows = []
    for noise in predictions.NOISES:
        cells = []
        for g in found:
            for name in predictions.ESTIMATORS:
                number = predictions.mean(found[g][noise.label, name])
                cells.append(f"{number.value:.3f} ± {number.stderr:.3f}")
        rows.append((noise.label, *cells))
    return markdown_table(("noise", *(f"`{n}`, G = {g}" for g in found for n in predictions.ESTIMATORS)), rows)


def _drift(rows: list[dict[str, object]], keep: Callable[[dict[str, object]], bool], first: str) -> str:
    def cell(row: dict[str, object], column: str) -> str:
        return with_error({k: v for k, v in row.items() if isinstance(v, float)}, column)

    body = [
        (str(row[first]), f"`{row['estimator']}`", *(cell(row, c) for c in drift.Outcome._fields))
        for row in sorted(rows, key=lambda row: cast(float, row[first]))
        if keep(row)
    ]
    titles = ("baseline error", "gradient variance", "error - RLOO's", "variance - RLOO's")
    return markdown_table((first.replace("_", " "), "estimator", *titles), body)


def page(table: dict[str, Values], drifts: list[dict[str, object]]) -> str:
    """The sheet as Markdown."""
    text = PAGE
    sections = {
        "formulas": _formulas(table),
        "behaviour": _behaviour(table),
        "variances": _variances(table),
        "exact": _exact(),
        "cosines": _cosines(),
        "drift_groups": _drift(drifts, lambda row: row["drift"] == 0.05, "group_size"),
        "drift_rates": _drift(drifts, lambda row: row["group_size"] == 4, "drift"),
        "parts": _parts(),
    }
    for key, section in sections.items():
        text = text.replace("{{" + key + "}}", section)
    return text


def write(folder: Path, progress: Callable[[str], None] = lambda name: None) -> None:
    """Measure everything and write the three files."""
    table = all_values(SETTING, progress)
    progress("drift")
    drifts = drift_rows()
    progress("predictions")
    write_text(folder / "estimators.csv", to_csv(sheet_rows(table)))
    write_text(folder / "estimators_drift.csv", to_csv(drifts))
    write_text(folder / "estimators.md", page(table, drifts))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m krpo.advantages.sheet", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("docs"), help="folder to write to (default: docs)")
    args = parser.parse_args(argv)

    def body() -> int:
        def progress(name: str) -> None:
            if sys.stderr.isatty():
                print(f"\r{name:30}", end="", file=sys.stderr, flush=True)

        write(args.output, progress)
        print(args.output / "estimators.md")
        return 0

    return run_cli(body)


if __name__ == "__main__":
    raise SystemExit(main())
