"""The table that `krpo-probe` prints: one block for each noise and group size."""

from __future__ import annotations

from typing import Any

from krpo.probe.spec import ProbeSpec

SHOWN = {
    "scaled_over_oracle": "variance / oracle",
    "variance_model": "model",
    "scaled_over_first": "/ {first}",
    "snr": "SNR",
    "cosine_reference": "cos(g, true)",
    "order_share": "order",
    "baseline_mse": "baseline MSE",
    "advantage_rms": "RMS(A)",
    "sign_mismatch": "wrong sign",
}
WITH_INTERVAL = ("scaled_over_oracle", "scaled_over_first", "snr")


def render(rows: list[dict[str, Any]], spec: ProbeSpec) -> str:
    """The main measures of a results table as text, with what they are taken over."""
    titles = ["estimator", *(t.format(first=spec.estimators[0].label) for t in SHOWN.values())]
    parts = []
    for noise in spec.noise:
        for g in spec.group_sizes:
            own = [r for r in rows if r["noise"] == noise.label and r["group_size"] == g]
            values: dict[str, dict[str, dict[str, Any]]] = {}
            for row in own:
                values.setdefault(row["estimator"], {})[row["measure"]] = row
            body = [[label, *(_cell(name, found.get(name)) for name in SHOWN)] for label, found in values.items()]
            n = int(own[0]["batches"])
            parts.append(f"G = {g}, noise {noise.label}, {n} batches of {spec.prompts} prompts x {g} answers")
            parts.append(_aligned([titles, *body]) + "\n")
    answers, error = spec.reference_batches * spec.answers, 100 * (2 / spec.sketch) ** 0.5
    parts += [
        f"seed {spec.seed}; [95 % interval: jackknife over batches]; prompts fixed, all estimators on the same answers",
        f"reference: {answers} other answers per prompt, clean rewards; variances are scaled to equal progress along",
        "its gradient; model: if the scores of answers were independent of each other",
        f"gradients in {spec.sketch} numbers (projected: error of a squared norm up to {error:.1f} %)",
    ]
    return "\n".join(parts)


def _cell(name: str, row: dict[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return "-"
    text = _number(row["value"])
    if name in WITH_INTERVAL and row["stderr"]:
        text += f" [{_number(row['low'])}, {_number(row['high'])}]"
    return text


def _number(value: float | None) -> str:
    if value is None:
        return "?"
    if value == 0:
        return "0"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


def _aligned(lines: list[list[str]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    shown = [
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]
    return "\n".join([shown[0], "-" * len(shown[0]), *shown[1:]])
