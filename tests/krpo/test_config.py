"""YAML at the edge: every mistake is named with its file, its line and the nearest key."""

from __future__ import annotations

import json
import zlib

import pytest

from krpo.config import Named, build, load_yaml, set_dotted, to_plain
from krpo.errors import BadInput, nearest
from krpo.spec import FORMAT, RunSpec, run_key


def spec_from(tmp_path, text: str) -> RunSpec:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    return build(RunSpec, *load_yaml(file))


def test_nearest_names_close_ones_first_and_all_if_none_is_close():
    assert nearest("kpro", ["grpo", "krpo"]) == "did you mean krpo or grpo?"
    assert nearest("zzz", ["b", "a"]) == "known: a, b"


def test_a_specification_round_trips():
    spec = RunSpec(estimator=Named("krpo", {"process_variance": 1e-4}), noise=Named("flip", {"rate": 0.2}), seed=3)
    assert build(RunSpec, to_plain(spec)) == spec


def test_numbers_are_read_as_people_write_them(tmp_path):
    spec = spec_from(tmp_path, "learning_rate: 1e-4\ntemperature: 1\nnoise: {name: flip, rate: 2e-1}\n")
    assert (spec.learning_rate, spec.temperature, spec.noise.params["rate"]) == (1e-4, 1.0, 0.2)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("steps: 3\nlerning_rate: 1\n", ["run.yaml, line 2", "lerning_rate", "learning_rate"]),
        ("steps: many\n", ["run.yaml, line 1", "steps", "whole number", "many"]),
        ("steps: true\n", ["line 1", "steps", "whole number"]),
        ("\n\nsteps: 2.5\n", ["line 3", "steps", "whole number"]),
        ("reward: acuracy\n", ["line 1", "reward", "did you mean accuracy"]),
        ("group_size: 1\n", ["line 1", "group_size", "at least 2"]),
        ("steps: 3\nsteps: 4\n", ["line 2", "steps", "twice", "line 1"]),
        ("noise: {rate: 0.2}\n", ["line 1", "noise", "needs a name"]),
        ("minibatches: 7\n", ["line 1", "minibatches", "must divide"]),
        ("- a\n- b\n", ["run.yaml", "mapping"]),
        ("a: [1\n", ["run.yaml", "not valid YAML"]),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path, text, parts):
    with pytest.raises(BadInput) as error:
        spec_from(tmp_path, text)
    for part in parts:
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_names_its_neighbours(tmp_path):
    (tmp_path / "quick.yaml").write_text("a: 1")
    with pytest.raises(BadInput, match=r"quik\.yaml: no such file; did you mean quick\.yaml"):
        load_yaml(tmp_path / "quik.yaml")


def test_set_reaches_into_components():
    data = {"estimator": "krpo"}
    set_dotted(data, "estimator.process_variance=1e-3")
    set_dotted(data, "steps=7")
    spec = build(RunSpec, data)
    assert spec.estimator == Named("krpo", {"process_variance": 1e-3})
    assert spec.steps == 7


def test_the_key_follows_what_changes_numbers_and_nothing_else():
    key = run_key(RunSpec(), base_weights="w", data="d")
    assert key == run_key(RunSpec(learning_rate=0.0001), base_weights="w", data="d")
    same = build(RunSpec, {"noise": {"name": "flip", "rate": 1}})
    assert run_key(same) == run_key(build(RunSpec, {"noise": {"name": "flip", "rate": 1.0}}))
    changed = [RunSpec(seed=1), RunSpec(steps=99), RunSpec(estimator=Named("grpo"))]
    keys = {key, *(run_key(s, base_weights="w", data="d") for s in changed)}
    keys |= {run_key(RunSpec(), base_weights="x", data="d"), run_key(RunSpec(), base_weights="w", data="e")}
    assert len(keys) == 6


def test_a_changed_default_needs_a_new_format():
    """Keys leave defaults out. If this fails because a default was changed, raise `krpo.spec.FORMAT`; then, or if a
    setting was added, bring the number here up to date.
    """
    content = json.dumps(RunSpec().to_plain(), sort_keys=True)
    assert (FORMAT, zlib.crc32(content.encode())) == (1, 2431797071)
