"""The report of a `krpo-probe` folder: its table `results.csv` -> one figure, one table, one page."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from krpo.config import Named
from krpo.errors import BadInput
from krpo.rundir import dumps
from reports import formats
from reports.build import drawing
from reports.figures import gradient_variance
from reports.formats import Column, Table
from reports.names import estimator_name, noise_name
from reports.page import encoded, picture_words
from reports.templates import environment, page_style

TABLE = "results.csv"
KEYS = ("group_size", "noise", "estimator")
COLUMNS = (*KEYS, "measure", "value", "low", "high")
NUMBERS = ("group_size", "value", "stderr", "low", "high", "batches")
ORACLE = "oracle"


def read_probe(root: Path) -> pd.DataFrame:
    """`results.csv` with a column condition. Raises `BadInput` for a file that is no table of a probe."""
    file = root / TABLE
    try:
        text = file.read_text(encoding="utf-8")
        frame = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise BadInput(f"{file}: cannot be read as a table ({str(error).splitlines()[0]})") from None
    if missing := [name for name in COLUMNS if name not in frame]:
        raise BadInput(f"{file}: has no column {missing[0]}; make it with krpo-probe")
    if not text.endswith("\n"):
        raise BadInput(f"{file}: its last line is torn; make it again with krpo-probe")
    frame = _checked(frame.fillna(""), file)
    if not (frame.measure == "scaled_over_oracle").any():
        raise BadInput(f"{file}: holds no row 'scaled_over_oracle'; make it with krpo-probe")
    if (frame.estimator == ORACLE).all():
        raise BadInput(f"{file}: holds no estimator but the oracle; make it with krpo-probe")
    return frame.assign(condition=frame.noise.map(_condition))


def _checked(frame: pd.DataFrame, file: Path) -> pd.DataFrame:
    """The numbers as numbers: an empty cell is none, and so is an infinite one."""

    def refuse(wrong: pd.Series, column: str, wanted: str) -> None:
        if wrong.any():
            row = int(wrong.argmax())
            raise BadInput(f"{file}, line {row + 2}: {column} is '{frame[column].iloc[row]}'; expected {wanted}")

    for column in (*KEYS, "measure"):
        refuse(frame[column] == "", column, "a value")
    numbers = {}
    for column in NUMBERS:
        if column in frame:
            numbers[column] = pd.to_numeric(frame[column], errors="coerce").replace([np.inf, -np.inf], np.nan)
            refuse(pd.to_numeric(frame[column], errors="coerce").isna() & (frame[column] != ""), column, "a number")
    refuse(~(numbers["group_size"] > 0), "group_size", "a number above 0")
    ratio = frame.measure.isin(["scaled_over_oracle", "scaled_over_first"])
    refuse(ratio & (numbers["value"] < 0), "value", "a ratio of variances, not below 0")
    outside = (numbers["low"] > numbers["value"]) | (numbers["high"] < numbers["value"])
    refuse(outside, "value", "a value inside its interval")
    twice = frame.duplicated([*KEYS, "measure"])
    refuse(twice, "measure", "each measure once for a noise, estimator and group size")
    return frame.assign(**numbers)


def _condition(label: str) -> str:
    """`flip(rate=0.2)` as on other pages: `flip 0.2`."""
    one = re.fullmatch(r"(\w+)\(\w+=([-+.\de]+)\)", label)
    return f"{one[1]} {float(one[2]):g}" if one else noise_name(Named(label))


def probe_files(root: Path) -> dict[str, bytes]:
    """Every file of the report by its path below the report's folder."""
    probe = read_probe(root)
    with drawing({gradient_variance.NAME: functools.partial(gradient_variance.table, probe)}) as drawn:
        files, pictures = drawn()
    table = variance_table(probe)
    for kind, write in (("csv", formats.to_csv), ("md", formats.to_markdown), ("tex", formats.to_latex)):
        files[f"tables/{table.name}.{kind}"] = write(table).encode()
    sentence, detail = finding(probe)
    results = {
        "format": 1, "names": [root.resolve().name], "question": QUESTION, "verdict": "probe", "sentence": sentence,
        "detail": detail, "figures": [picture_words(picture) for picture in pictures],
    }  # fmt: skip
    files["results.json"] = (dumps(results) + "\n").encode()
    page = environment().get_template("probe.html").render(
        name=root.resolve().name, style=page_style(), results=results, table=table,
        figures=[encoded(picture) for picture in pictures], command=f"krpo-report {root}",
    )  # fmt: skip
    files["index.html"] = page.encode()
    return files


QUESTION = "Does the estimator lower the variance of the gradient, at a policy that stands still?"


def finding(probe: pd.DataFrame) -> tuple[str, str]:
    """KRPO's variance over that of the first estimator, at each group size: the first noise, then the others."""
    rows = probe[probe.measure == "scaled_over_first"]
    arms = [str(arm) for arm in dict.fromkeys(probe.estimator) if arm != ORACLE]
    if len(arms) < 2:
        return "One estimator was measured: there is nothing to compare it with.", ""
    first, arm = arms[0], "krpo" if "krpo" in arms[1:] else arms[1]
    sentences = [
        _sentence(str(condition), own.sort_values("group_size"), estimator_name(arm), estimator_name(first))
        for condition, own in rows[rows.estimator == arm].groupby("condition", sort=False)
    ]
    if not sentences:
        return f"{estimator_name(arm)} was not measured against {estimator_name(first)}.", ""
    note = "Both are scaled to equal progress. Each 95% interval stands by itself and is over answers only."
    return sentences[0], " ".join([*sentences[1:], note])


def _sentence(condition: str, own: pd.DataFrame, arm: str, first: str) -> str:
    has_value, has_interval = own.value.notna(), own.low.notna() & own.high.notna()
    higher, lower = has_value & has_interval & (own.low > 1), has_value & has_interval & (own.high < 1)
    groups = {
        f"higher than {first}'s": higher,
        f"lower than {first}'s": lower,
        f"not told apart from {first}'s": has_value & has_interval & ~higher & ~lower,
        f"set beside {first}'s without an interval": has_value & ~has_interval,
        f"not set beside {first}'s": ~has_value,
    }
    said = [f"{words} at G = {_list(own.group_size[which])}" for words, which in groups.items() if which.any()]
    values = [
        f"{r.value:.2f}{'' if i else ' times'} ({_interval(r.low, r.high)}) at {'' if i else 'G = '}{r.group_size:g}"
        for i, r in enumerate(own[has_value].itertuples())
    ]
    told = f": {', '.join(values)}" if values else ""
    return f"The gradient variance of {arm} was {', '.join(said)} ({condition}){told}."


def _interval(low: float, high: float) -> str:
    return f"{low:.2f} to {high:.2f}" if low <= high else "no interval"


def _list(sizes: Sequence[float]) -> str:
    return ", ".join(f"{size:g}" for size in sizes)


def variance_table(probe: pd.DataFrame) -> Table:
    """A row per noise, estimator and group size."""
    keys = ["condition", "estimator", "group_size"]

    def of(measure: str, **names: str) -> pd.DataFrame:
        return probe[probe.measure == measure][[*keys, *names]].rename(columns=names)

    frame = of("scaled_over_oracle", value="value", low="low", high="high", batches="batches")
    others = {
        "scaled_over_first": {"value": "first", "low": "first_low", "high": "first_high"},
        "variance_model": {"value": "model"},
        "order_share": {"value": "order"},
    }
    for measure, names in others.items():
        frame = frame.merge(of(measure, **names), on=keys, how="left", validate="one_to_one")
    first = estimator_name(str(next(arm for arm in probe.estimator if arm != ORACLE)))
    interval = formats.interval_of(formats.number)
    columns = [
        Column("condition", "condition", str, number=False),
        Column("estimator", "estimator", estimator_name, number=False),
        Column("group_size", "G", formats.whole),
        Column("batches", "batches", formats.whole),
        Column("value", "over oracle", formats.number),
        Column(("low", "high"), "95% interval", interval),
        Column("first", f"over {first}", formats.number),
        Column(("first_low", "first_high"), "95% interval", interval),
        Column("model", "theory", formats.number),
        Column("order", "order, %", formats.percent),
    ]
    note = (
        "Variance of the gradient over the oracle baseline's and over the first estimator's, on the same answers, "
        "scaled to equal progress. Theory: if the scores of answers were independent. Order: share that is due to the "
        "order of answers. Intervals: 95% jackknife over batches with Student's t, of logarithms."
    )
    return Table("gradient_variance", "Variance of the gradient", frame[frame.estimator != ORACLE], columns, note)
