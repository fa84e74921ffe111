"""Names, parameters, composition, and what a user is told when something is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from krpo.advantages import (
    AdvantageEstimator,
    Batch,
    available_estimators,
    make_estimator,
    register_estimator,
)
from krpo.config import Named
from krpo.errors import BadInput

REWARDS_PG = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]], dtype=torch.float64)


class Doubled(AdvantageEstimator):
    """A user's own estimator."""

    def __init__(self, *, factor: float = 2.0) -> None:
        self.factor = factor

    def compute(self, batch: Batch) -> torch.Tensor:
        return self.factor * batch.rewards_PG


def make_nothing() -> int:
    return 0


def test_names_are_sorted_and_hold_the_published_ones() -> None:
    names = available_estimators()
    assert names == sorted(names)
    assert {"grpo", "dr_grpo", "rloo", "krpo", "krpo_unit_rms", "composed"} <= set(names)


def test_a_clash_raises() -> None:
    with pytest.raises(BadInput, match="'krpo' is already registered"):
        register_estimator("krpo")


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("kpro", {}, r"unknown estimator 'kpro'; did you mean krpo"),
        (
            "krpo",
            {"proces_variance": 1.0},
            r"'krpo': unknown parameter 'proces_variance'; did you mean process_variance",
        ),
        ("krpo", {"process_variance": "much"}, r"'process_variance' must be a number, found 'much'"),
        ("krpo", {"process_variance": -1}, r"process_variance is -1.0; it must not be negative"),
        ("krpo", {"measurement_variance": 0}, r"measurement_variance is 0.0; it must be above 0"),
        ("krpo", {"prior_variance": "inf"}, r"prior_variance is inf; it must be above 0, and finite"),
        ("krpo", {"prior_mean": "nan"}, r"prior_mean is nan; it must be finite"),
        ("grpo", {"eps": 0}, r"eps is 0.0; it must be above 0"),
        ("rloo", {"eps": 1}, r"'rloo': unknown parameter 'eps'; it has none"),
        (
            "composed",
            {"baseline": "runing_kalman"},
            r"unknown baseline 'runing_kalman'; did you mean running_kalman",
        ),
        ("composed", {"scale": {"name": "group_std", "ep": 1}}, r"scale 'group_std': unknown parameter 'ep'"),
        ("no_such_module:thing", {}, r"cannot import 'no_such_module'"),
        ("math:sine", {}, r"'math' has no 'sine'; did you mean"),
        (f"{__name__}:make_nothing", {}, r"made a int; it must make a AdvantageEstimator"),
    ],
)
def test_bad_names_and_parameters(name: str, params: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make_estimator(name, **params)


def test_a_users_own_estimator() -> None:
    torch.testing.assert_close(make_estimator(f"{__name__}:Doubled", factor=3)(REWARDS_PG), 3 * REWARDS_PG)


def test_a_users_own_estimator_in_the_folder_a_command_is_called_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "from krpo.advantages import make_estimator\ndef mine(*, named='grpo'):\n    return make_estimator(named)\n"
    (tmp_path / "estimators_of_a_user.py").write_text(code)
    monkeypatch.setattr("sys.path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    got_PG = make_estimator("estimators_of_a_user:mine", named="rloo")(REWARDS_PG)
    assert torch.equal(got_PG, make_estimator("rloo")(REWARDS_PG))


def test_parameters_may_come_inside_a_named_and_from_yaml_as_text() -> None:
    inside = make_estimator(Named("krpo", {"process_variance": 0.1}))(REWARDS_PG)
    assert torch.equal(inside, make_estimator("krpo", process_variance="1e-1")(REWARDS_PG))
    assert not torch.equal(inside, make_estimator("krpo")(REWARDS_PG))


def test_named_estimators_are_compositions() -> None:
    for name, baseline, scale in [
        ("grpo", "group_mean", "group_std"),
        ("rloo", "leave_one_out", "none"),
        ("krpo", "running_kalman", "kalman_posterior_std"),
    ]:
        parts = make_estimator("composed", baseline=baseline, scale=scale)
        torch.testing.assert_close(parts(REWARDS_PG), make_estimator(name)(REWARDS_PG), rtol=1e-12, atol=1e-12)


def test_parts_take_parameters() -> None:
    scale = {"name": "constant", "factor": 4}
    got = make_estimator(Named("composed", {"baseline": "none", "scale": scale}))(REWARDS_PG)
    assert torch.equal(got, 4 * REWARDS_PG)


@pytest.mark.parametrize(
    ("rewards_PG", "message"),
    [
        (torch.zeros(0, 4), "hold something"),
        (torch.zeros(4), r"shape \[prompts, answers\]"),
        (torch.zeros(3, 1), "at least 2"),
        (torch.zeros(3, 0), "at least 2"),
        (torch.zeros(3, 4, dtype=torch.int64), "floating-point"),
        ([[0.0, 1.0]], "floating-point tensor"),
        (torch.tensor([[0.0, 1.0], [torch.nan, 0.0]]), "prompt 1, answer 0 is nan"),
        (torch.tensor([[0.0, torch.inf]]), "prompt 0, answer 1 is inf"),
    ],
)
def test_bad_rewards(rewards_PG: torch.Tensor, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        make_estimator("grpo")(rewards_PG)


def test_bad_masks_extras_and_states() -> None:
    estimator = make_estimator("grpo")
    with pytest.raises(BadInput, match="mask must be bool of shape"):
        estimator(REWARDS_PG, mask_PG=torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(BadInput, match="answer 0 is inf"):
        estimator(torch.tensor([[torch.inf, 0.0]]), mask_PG=torch.tensor([[True, False]]))
    with pytest.raises(BadInput, match="unknown extra 'length_PG'; did you mean lengths_PG"):
        estimator(REWARDS_PG, length_PG=REWARDS_PG)
    with pytest.raises(BadInput, match="keeps no state called 'x'"):
        estimator.load_state_dict({"x": 1})
    assert estimator.state_dict() == {}
