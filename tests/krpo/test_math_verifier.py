import json
import os
import re
import threading
import time
from pathlib import Path

import pytest

from krpo.math_verifier import MathVerifier, marked_answer


@pytest.fixture(scope="module")
def verifier():
    with MathVerifier() as v:
        v.check(["x+1"], ["1+x"])  # the worker is there before anything is timed
        yield v


@pytest.fixture(scope="module")
def data_dir():
    folder = Path(os.environ.get("KRPO_DATA_DIR", Path(__file__).resolve().parents[3] / "shared" / "data"))
    if not (folder / "gsm8k_test.jsonl").is_file():
        pytest.skip(f"no benchmark data in {folder}; set KRPO_DATA_DIR to a folder with gsm8k_test.jsonl")
    return folder


def rows(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def changed(answer):
    """The answer with its last number (no unit's exponent) made another one; an answer without a number gets one."""
    numbers = list(re.finditer(r"(?<!\}\^)\d+", answer))
    if not numbers:
        return f"{answer}+1"
    last = numbers[-1]
    return f"{answer[: last.start()]}{int(last[0]) + 1}{answer[last.end() :]}"


def test_gold_solutions_of_gsm8k_are_right_and_changed_ones_wrong(verifier, data_dir):
    solutions = [row["answer"] for row in rows(data_dir / "gsm8k_test.jsonl")]
    golds = [text.rsplit("####", 1)[1].strip().replace(",", "") for text in solutions]
    assert len(golds) == 1319
    assert sum(m.equal for m in verifier.check(solutions, golds)) == 1319
    wrong = [text.rsplit("####", 1)[0] + f"#### {int(gold) + 1}" for text, gold in zip(solutions, golds, strict=True)]
    assert sum(m.equal for m in verifier.check(wrong, golds)) == 0


def test_gold_solutions_of_math500_are_right_and_changed_ones_wrong(verifier, data_dir):
    questions = rows(data_dir / "math500_test.jsonl")
    golds = [row["answer"] for row in questions]
    right = verifier.check([row["solution"] for row in questions], golds)
    assert (len(right), sum(m.equal for m in right)) == (500, 500)
    wrong = [f"Hence \\boxed{{{changed(gold)}}}." for gold in golds]
    verdicts = verifier.check(wrong, golds)
    assert [(g, w) for g, w, v in zip(golds, wrong, verdicts, strict=True) if v.equal] == []


def test_math500_golds_are_equal_to_themselves_by_mathematics(verifier, data_dir):
    """In the worker, where no comparison of texts comes first."""
    golds = [row["answer"] for row in rows(data_dir / "math500_test.jsonl")]
    matches = verifier._ask([(gold, gold, True) for gold in golds])
    assert [g for g, m in zip(golds, matches, strict=True) if not m.equal] == []


FEWSHOT = "\n\nQuestion: A robe takes 2 bolts. How many?\nAnswer: It takes 2/2=1.\n#### 3"


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        ("#### 18", "18", True),
        ("She makes 9 * 2 = $18 a day.\n#### 18", "18", True),
        ("#### 19", "18", False),
        ("\\boxed{18}", "18", True),
        ("$\\boxed{18}$", "18", True),
        ("first \\boxed{17}, no: \\boxed{18}", "18", True),
        ("$18.00", "18", True),
        ("18 dollars", "18", True),
        ("1,234", "1234", True),
        ("#### 1,234", "1234", True),
        ("<answer> 18 </answer>", "18", True),
        ("<answer>18</answer>", "18", True),
        ("<answer>18</answer> or <answer>19</answer>", "18", True),
        ("<answer>19</answer> or <answer>18</answer>", "18", False),
        ("<answer>18", "18", False),  # never closed: no answer
        ("<answer>118</answer>", "18", False),
        ("<answer>-18</answer>", "18", False),
        ("The answer is 18.", "18", True),
        ("The answer is 18...", "18", True),
        ("**18**", "18", True),
        ("Answer: 18 apples, not 20", "18", True),
        ("36/2", "18", True),
        ("\\boxed{\\frac{36}{2}}", "18", True),
        ("\\boxed{\\frac{1}{2}}", "0.5", True),
        ("1/2", "\\frac{1}{2}", True),
        ("\\boxed{\\frac{1}{3}}", "0.5", False),
        ("\\boxed{50\\%}", "\\frac{1}{2}", True),
        ("#### 10%", "10", True),
        ("\\boxed{2x+2}", "2(x+1)", True),
        ("\\boxed{2x+3}", "2(x+1)", False),
        ("\\boxed{(1,2)}", "[1,2]", False),
        ("\\boxed{52_8}", "52_8", True),
        ("\\boxed{52_{8}}", "52_8", True),
        ("\\boxed{52}", "52_8", True),
        ("\\boxed{52_9}", "52_8", False),
        (f"#### 18{FEWSHOT}", "18", True),  # goes on with the few-shot examples
        (f"It is 18.{FEWSHOT}", "18", True),
        (f"#### 5{FEWSHOT.replace('3', '18')}", "18", False),
        ("", "18", False),
        ("I do not know.", "18", False),
        ("1" * 100_000, "18", False),
        ("<answer>" + "1" * 100_000 + "</answer>", "18", False),
        ("\\boxed{" * 14_000, "18", False),
        ("(" * 100_000, "18", False),
        ("\\boxed{9^{9^{9^9}}}", "18", False),
        ("$9^{9^{9^9}}$", "18", False),
        ("\\boxed{18}" + "\0\ud800", "18", True),
    ],
)
def test_spellings_are_scored_as_a_person_would(verifier, text, gold, right):
    verifier.check(["\\boxed{x+1}"], ["1+x"])  # a worker that the case before had killed is back
    start = time.monotonic()
    match = verifier.check([text], [gold])[0]
    assert match.equal is right
    assert time.monotonic() - start < 5


def test_a_time_out_is_counted_and_the_pool_goes_on():
    with MathVerifier(workers=2, limit=1.0) as verifier:
        verifier.check(["x+1", "x+2"], ["1+x", "2+x"])
        texts = ["\\boxed{9^{9^{9^9}}}", "\\boxed{x+1}", "\\boxed{9^{9^{9^8}}}", "\\boxed{x+2}", "\\boxed{x+3}"]
        golds = ["2x", "1+x", "3x", "2+x", "x"]
        matches = verifier.check(texts, golds)
    assert [m.equal for m in matches] == [False, True, False, True, False]
    assert [m.timed_out for m in matches] == [True, False, True, False, False]


def test_a_killed_worker_is_replaced():
    with MathVerifier() as verifier:
        assert verifier.check(["\\boxed{x+1}"], ["1+x"])[0].equal
        verifier.workers[0].process.kill()
        verifier.workers[0].process.wait()
        assert [m.equal for m in verifier.check(["\\boxed{x+1}"] * 2, ["1+x"] * 2)] == [True, True]


def test_it_works_in_a_thread():
    """math-verify by itself raises there, or silently says no."""
    said = []
    with MathVerifier() as verifier:
        thread = threading.Thread(target=lambda: said.extend(verifier.check(["\\boxed{x+1}"], ["1+x"])))
        thread.start()
        thread.join()
    assert said[0].equal


def test_a_forked_child_starts_its_own_worker(verifier):
    child = os.fork()
    if child == 0:
        os._exit(0 if verifier.check(["\\boxed{x+1}"], ["1+x"])[0].equal else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert verifier.check(["\\boxed{x+2}"], ["2+x"])[0].equal


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("a #### 3 and more\n#### 4", "3 and more"),
        ("no mark at all", None),
        ("<answer> 7 </answer> \\boxed{8} #### 9", "7"),
        ("\\boxed{8} #### 9", "8"),
    ],
)
def test_what_is_taken_for_the_marked_answer(text, answer):
    assert marked_answer(text) == answer
