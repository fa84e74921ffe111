import subprocess
import sys

import pytest

from eval.spec import EvalSpec
from krpo.config import build
from krpo.errors import BadInput


def test_several_samples_need_a_temperature():
    with pytest.raises(BadInput, match="temperature 0"):
        EvalSpec(tasks=("sums",), samples=8)
    assert EvalSpec(tasks=("sums",), samples=8, temperature=1.0).samples == 8


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tasks": ()}, "tasks is empty"),
        ({"tasks": ("sums", "sums")}, "'sums' twice"),
        ({"limit": 0}, "limit is 0"),
        ({"samples": 0}, "samples is 0"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"max_tokens": 0}, "max_tokens is 0"),
    ],
)
def test_values_out_of_range_are_named(change, said):
    with pytest.raises(BadInput, match=said):
        EvalSpec(**{"tasks": ("sums",), **change})


def test_it_is_built_from_a_mapping_and_back():
    spec = build(EvalSpec, {"tasks": ["sums", "gsm8k"], "samples": 4, "temperature": 1})
    assert spec == EvalSpec(tasks=("sums", "gsm8k"), samples=4, temperature=1.0)
    assert build(EvalSpec, spec.to_plain()) == spec


def test_specification_and_help_load_nothing_heavy():
    code = (
        "import sys, eval, eval.spec, eval.cli; "
        "assert not {'torch', 'lm_eval', 'vllm', 'datasets', 'transformers', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
