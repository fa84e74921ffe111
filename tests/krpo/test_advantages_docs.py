"""The example of `docs/adding-an-estimator.md` does what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from krpo.advantages import make_estimator
from krpo.advantages.registry import BASELINES, ESTIMATORS

PAGE = Path(__file__).parents[2] / "docs" / "adding-an-estimator.md"


def test_the_example_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    try:
        exec(compile(code, str(PAGE), "exec"), {"__name__": "example"})
        rewards_PG = torch.tensor([[1.0, 0.0, 0.2], [1.0, 1.0, 1.0]])
        got_PG = make_estimator("midrange", factor=2)(rewards_PG)
        torch.testing.assert_close(got_PG, torch.tensor([[1.0, -1.0, -0.6], [0.0, 0.0, 0.0]]))
        hole_PG = make_estimator("midrange")(rewards_PG, mask_PG=torch.tensor([[True, False, True], [True] * 3]))
        torch.testing.assert_close(hole_PG[0], torch.tensor([0.4, 0.0, -0.4]))
    finally:
        for registry in (ESTIMATORS, BASELINES):
            registry._entries.pop("midrange", None)


def test_the_names_that_the_page_gives_exist() -> None:
    make_estimator("composed", baseline="group_median", scale="group_std")
