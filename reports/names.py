"""How estimators, noise and conditions are called in figures and tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from krpo.config import Named, Source, coerce
from krpo.errors import BadInput
from krpo.spec import field_names

_ESTIMATORS = {
    "grpo": "GRPO",
    "dr_grpo": "Dr. GRPO",
    "rloo": "RLOO",
    "krpo": "KRPO",
    "krpo_unit_rms": "KRPO (unit RMS)",
    "grpo_scaled": "GRPO (scaled)",
}


def named(value: Any) -> Named:
    """`krpo` or `{name: krpo, process_variance: 1e-4}` as stored in a specification."""
    try:
        named: Named = coerce(Named, value, Source("a stored specification"), "name")
    except BadInput:  # a form that a newer version writes: keep it apart from all others, do not stop
        return Named(str(value))
    return named


_SYMBOLS = {"process_variance": "Q", "measurement_variance": "R"}
"""Parameters that have a usual symbol."""


def estimator_name(label: str) -> str:
    """`krpo` -> `KRPO`; a label with parameters keeps them: `krpo(process_variance=0.0001)` -> `KRPO (Q=0.0001)`."""
    name, parenthesis, inside = label.partition("(")
    shown = _ESTIMATORS.get(name, name)
    for parameter, symbol in _SYMBOLS.items():
        inside = re.sub(rf"\b{parameter}=", f"{symbol}=", inside)
    return f"{shown} ({inside}" if parenthesis else shown


def symbols_told(labels: Iterable[str]) -> str:
    """A sentence on the symbols in the names of these estimators; empty where there are none."""
    whole = " ".join(labels)
    told = [
        f"{symbol}: {parameter.replace('_', ' ')}" for parameter, symbol in _SYMBOLS.items() if f"{parameter}=" in whole
    ]
    return f" {', '.join(told)}." if told else ""


def noise_name(noise: Named) -> str:
    """`none` -> `clean`; one parameter is shown by its value: `flip(rate=0.2)` -> `flip 0.2`."""
    if noise.name == "none":
        return "clean"
    if len(noise.params) == 1 and isinstance(value := next(iter(noise.params.values())), (int, float)):
        return f"{noise.name} {value:g}"
    return noise.label


def condition_name(noise: Named | None, others: Mapping[str, Any]) -> str:
    """The condition under which arms are compared: the noise (None where it says nothing) and whatever else varies."""
    return ", ".join(
        [
            *([noise_name(noise)] if noise else []),
            *(f"{key.replace('_', ' ')} {short(value)}" for key, value in others.items()),
        ]
    )


def circumstance(condition: str) -> str:
    """A condition in a sentence: `with clean rewards`, `under flip 0.2`, `at group size 8`."""
    noise, comma, others = condition.partition(", ")
    if noise == "clean":
        return f"with clean rewards{comma}{others}"
    settings = tuple(f"{key.replace('_', ' ')} " for key in field_names())
    return f"at {condition}" if condition.startswith(settings) else f"under {condition}"


def short(value: Any) -> str:
    """A setting's value in a sentence."""
    if value is None:
        return "not set"
    if isinstance(value, Mapping):
        return named(value).label
    return f"{value:g}" if isinstance(value, float) else str(value)
