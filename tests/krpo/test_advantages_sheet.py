"""The committed estimator sheet is what the code measures."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from krpo.advantages import sheet
from krpo.advantages.measure import Number, Setting, estimate, gradient_variance
from krpo.advantages.registry import ESTIMATORS
from krpo.config import Named

DOCS = Path(__file__).parents[2] / "docs"
REMAKE = "the code measures something else: run `python -m krpo.advantages.sheet` and read the difference"


@pytest.fixture(scope="module")
def committed() -> dict[str, dict[str, str]]:
    with open(DOCS / "estimators.csv", encoding="utf-8", newline="") as stream:
        return {row["estimator"]: row for row in csv.DictReader(stream)}


def test_every_estimator_is_in_the_sheet_with_its_formula_and_source(committed: dict[str, dict[str, str]]) -> None:
    assert list(committed) == sheet.names(), REMAKE
    page = (DOCS / "estimators.md").read_text(encoding="utf-8")
    for name, row in committed.items():
        facts = ESTIMATORS.entry(name).facts
        assert (row["formula"], row["source"]) == (facts["formula"], facts["source"]), REMAKE
        assert page.count(f"| `{name}` |") >= 3, REMAKE
    assert "{{" not in page


@pytest.mark.parametrize("name", sheet.names())
def test_columns_without_chance_are_what_the_code_gives(name: str, committed: dict[str, dict[str, str]]) -> None:
    for column, value in sheet.fixed_values(name).items():
        assert float(committed[name][column]) == pytest.approx(value, rel=1e-6, abs=2e-6), REMAKE


@pytest.mark.parametrize("name", sheet.names())
def test_simulated_columns_agree_with_a_shorter_simulation(name: str, committed: dict[str, dict[str, str]]) -> None:
    for column, number in sheet.simulated(name, dataclasses.replace(sheet.SETTING, batches=10)).items():
        value, stderr = float(committed[name][column]), float(committed[name][f"{column}_stderr"])
        # ten batches estimate their own standard error badly; the committed one, for 160, is 4 times smaller
        allowed = 5 * max(number.stderr, 4 * stderr) + 1e-4 * abs(value)
        assert abs(number.value - value) <= allowed, f"{name}, {column}: {value} against {number}; {REMAKE}"


def test_the_page_s_sentences_agree_with_its_numbers(committed: dict[str, dict[str, str]]) -> None:
    def variance(name: str, g: int) -> float:
        return float(committed[name][f"gradient_variance_G{g}"])

    assert variance("s_grpo", 32) < 1
    assert all(variance("krpo_uniform", g) > variance("krpo", g) for g in (4, 8, 16))

    with open(DOCS / "estimators_drift.csv", encoding="utf-8", newline="") as stream:
        rows = {(r["estimator"], float(r["drift"]), int(r["group_size"])): r for r in csv.DictReader(stream)}

    def lead(name: str, quantity: str, d: float, g: int) -> float:
        row = rows[name, d, g]
        return -float(row[f"{quantity}_difference"]) / float(row[f"{quantity}_difference_stderr"])

    for name in ("krpo_persistent", "krpo_hierarchical"):
        for quantity in ("error", "variance"):
            assert min(lead(name, quantity, 0.05, g) for g in (2, 4)) > 5
        gains = [-float(rows[name, 0.05, g]["variance_difference"]) for g in sheet.GROUPS]
        assert gains == sorted(gains, reverse=True)
        assert gains[-1] < 1 / 31
    assert lead("composed(baseline=beta_tracker)", "variance", 0.05, 32) < -5
    assert 0 < -float(rows["krpo_persistent", 0.2, 4]["variance_difference"]) < 0.1
    assert lead("krpo_persistent", "variance", 0.4, 4) < -5
    assert min(lead("krpo_hierarchical", "variance", d, 4) for d in sheet.DRIFTS) > 5


@pytest.mark.slow
def test_the_committed_files_are_reproduced(tmp_path: Path) -> None:
    sheet.write(tmp_path)
    for name in ("estimators.csv", "estimators_drift.csv", "estimators.md"):
        assert (tmp_path / name).read_text() == (DOCS / name).read_text(), REMAKE


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    values_B1 = np.random.default_rng(0).normal(size=(50, 1))
    found = estimate(values_B1, lambda means_k: means_k[0])
    assert found.value == pytest.approx(values_B1.mean())
    assert found.stderr == pytest.approx(values_B1.std(ddof=1) / np.sqrt(50))


def test_the_oracle_has_relative_variance_one_whatever_its_scale() -> None:
    """An estimator that is the oracle: rewards of pass rate 1/2 with the baseline 1/2, times 7."""
    half = {"name": "kalman_prediction", "prior_mean": 0.5, "prior_variance": 1e-12, "process_variance": 0.0}
    oracle = Named("composed", {"baseline": half, "scale": {"name": "constant", "factor": 7}})
    found = gradient_variance(oracle, Setting(batches=20, alpha=1e6, beta=1e6), 4)
    assert found.value == pytest.approx(1, abs=1e-3)


def test_rounding_errors_are_not_counted_as_advantages() -> None:
    """Whitening leaves 1e-17 in an all-equal group; that is no push in any direction."""
    short = Setting(batches=10)
    assert sheet.simulated("reinforce_pp_baseline", short)["effective_share"].value == pytest.approx(
        sheet.simulated("dr_grpo", short)["effective_share"].value, rel=1e-9
    )


def test_numbers_are_shown_to_the_digit_that_their_error_allows() -> None:
    assert sheet.with_error({"x": 1.23456, "x_stderr": 0.034}, "x") == "1.23 ± 0.03"
    assert sheet.with_error({"x": 2517.2, "x_stderr": 10.0}, "x") == "2517 ± 10"
    assert sheet.with_error({"x": 0.4303, "x_stderr": 0.0010}, "x") == "0.430 ± 0.001"
    assert sheet.with_error({"x": 10.0, "x_stderr": 0.0}, "x") == "10"
    assert isinstance(Number(1.0, 0.1), tuple)


def test_command_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        sheet.main(["--help"])
    assert stop.value.code == 0
    assert "--output" in capsys.readouterr().out
