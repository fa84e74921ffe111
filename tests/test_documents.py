"""The documents are true: every command and every Python example that they show is run, and files named exist.

Commands run in the order of the page, in a folder like a clone's, with the page's own options; what makes them long
(steps, prompts, seeds, questions) is cut down by options put behind them. What stands for something of the reader's own
is listed in `YOURS`, and what needs a hub must end with the one message that a user would see.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from krpo.policies import policy_path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "reports" / "data" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = {
    "krpo-train": "krpo.cli",
    "krpo-eval": "eval.cli",
    "krpo-ablate": "ablations.cli",
    "krpo-report": "reports.cli",
    "krpo-probe": "krpo.probe.cli",
    "torchrun": "torch.distributed.run",
}
SHORTER = {
    "krpo-train": "--steps 2 --prompts-per-step 2 --group-size 4",
    "torchrun": "--steps 2 --prompts-per-step 2 --group-size 4",
    "krpo-eval": "--limit 3 --max-tokens 32",
    "krpo-probe": "--batches 16 --reference 16 --prompts 2 --group-sizes 2",
    "krpo-ablate": "--limit 4 --set steps=2 prompts_per_step=2 seeds='[0, 1]' evaluation.limit=6 evaluation.samples=1",
}
YOURS = {  # what the reader would put there -> what is put there here
    "mypackage.advantages:midrange": "krpo.advantages.grpo:grpo_scaled",
    "/tmp/r": "elsewhere",
    "krpo-report probe": "krpo-report reports/data/probe",
}
ENDS_WITH_2 = {  # what a machine without a hub is told
    "--recipe paper": "meta-llama/Llama-3.2-1B-Instruct",
    "Qwen/Qwen2.5-0.5B-Instruct": "Qwen/Qwen2.5-0.5B-Instruct",
}


@dataclass(frozen=True)
class Shown:
    """A command or a Python example of a page."""

    page: Path
    text: str
    python: bool = False

    @property
    def program(self) -> str:
        return self.text.split()[0]


def shown(page: Path) -> list[Shown]:
    """What a page shows, in its order: lines of shell blocks and of indented blocks, and whole blocks of Python."""
    found: list[Shown] = []
    text = page.read_text()
    for block in re.finditer(r"```(\w+)\n(.*?)```|((?:^    [^\n]*\n)+)", text, re.DOTALL | re.MULTILINE):
        language, fenced, indented = block.groups()
        if language == "python":
            found.append(Shown(page, fenced, python=True))
            continue
        for line in (fenced or indented).replace("\\\n", " ").splitlines():
            line = line.strip().removeprefix("$ ").split("  #")[0].strip()
            if line.split(" ")[0] in PROGRAMS:
                found.append(Shown(page, " ".join(line.split())))
    return found


LONG = ("ablations", "reports")  # their commands take over a minute in all


def pages_with(python: bool) -> list[object]:
    pages = [page for page in DOCUMENTS if any(one.python == python for one in shown(page))]
    return [pytest.param(p, marks=pytest.mark.slow if p.stem in LONG and not python else ()) for p in pages]


def test_the_pages_show_every_program():
    programs = {one.program for page in DOCUMENTS for one in shown(page) if not one.python}
    assert programs == set(PROGRAMS)


@pytest.fixture(scope="module")
def clone(tmp_path_factory, data_dir):
    """A folder with what a clone has, the benchmark data where the documents say they are, and a few short runs in
    `runs`: what a page takes for granted that another one makes."""
    folder = tmp_path_factory.mktemp("documents") / "clone"
    folder.mkdir()
    (folder / "ablations").symlink_to(ROOT / "ablations")
    shutil.copytree(ROOT / "reports" / "data", folder / "reports" / "data")  # a page exports into it
    (folder.parent / "shared").mkdir()
    for place in (folder.parent / "shared" / "data", folder / "data"):
        place.symlink_to(data_dir)
    shutil.copytree(policy_path("tiny"), folder / "my-checkpoint")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HF_HUB_OFFLINE", "1")
        first = "krpo-train --estimator krpo --noise flip --set noise.rate=0.2 --output runs/first"
        assert call(f"{first} {SHORTER['krpo-train']}") == 0
        for name in ("quick", "noise"):
            assert call(f"krpo-ablate --grid ablations/{name}.yaml {SHORTER['krpo-ablate']}") == 0
        runs = sorted(done.parent for done in folder.glob("runs/quick/*/DONE"))
        for name, run in zip(("3f2a", "9c01"), runs, strict=False):
            (folder / "runs" / "quick" / name).symlink_to(run.name)
        yield folder


def call(line: str) -> int:
    """The exit status of a command line, run in this process; of a launcher, in processes of its own."""
    program, *arguments = shlex.split(line)
    if program == "torchrun":
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return subprocess.run([sys.executable, "-m", PROGRAMS[program], *arguments], env=environment).returncode
    expanded = [one for a in arguments for one in (sorted(map(str, Path().glob(a))) if "*" in a else [a])]
    try:
        return importlib.import_module(PROGRAMS[program]).main(expanded)
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", pages_with(python=False), ids=lambda page: page.stem)
def test_every_command_that_a_page_shows_runs(page, clone, capsys):
    for one in shown(page):
        if one.python or "--backend vllm" in one.text:
            continue
        run(one, capsys)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_commands_with_vllm_run(clone):
    pytest.importorskip("vllm")
    lines = [one.text for page in DOCUMENTS for one in shown(page) if not one.python and "--backend vllm" in one.text]
    assert lines
    for line in lines:
        program, *arguments = shlex.split(f"{line} {SHORTER['krpo-eval']}")
        checkpoint = next(a for a in arguments if a.startswith("runs/"))
        shutil.copytree(policy_path("tiny"), clone / checkpoint, dirs_exist_ok=True)
        command = [sys.executable, "-m", PROGRAMS[program], *arguments]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def run(one: Shown, capsys) -> None:
    line = one.text
    for written, meant in YOURS.items():
        line = line.replace(written, meant)
    last = (word for text, word in ENDS_WITH_2.items() if text in line)
    expected = next(last, None)
    shorter = SHORTER.get(one.program, "")
    if " compare " in line or "--status" in line or "--explain" in line or "--recipe" in line:
        shorter = ""
    capsys.readouterr()
    status = call(f"{line} {shorter}")
    told = capsys.readouterr()
    assert status == (0 if expected is None else 2), f"{one.page.name}: {line} {shorter}\n{told.out}\n{told.err}"
    if expected is not None:
        assert expected in told.err + told.out
        assert "Traceback" not in told.err


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", pages_with(python=True), ids=lambda page: page.stem)
def test_every_python_example_that_a_page_shows_runs(page, clone):
    if page.stem == "adding-an-estimator":
        pytest.skip("its example registers an estimator: tests/krpo/test_advantages_docs.py runs it")
    from datasets import Dataset

    names = {
        "my_reward": lambda completions, **_: [float("5" in text) for text in completions],
        "dataset": Dataset.from_list([{"prompt": f"{n}+{n}="} for n in range(8)]),
    }
    for one in shown(page):
        if one.python:
            here = one.text.replace("Qwen/Qwen2.5-0.5B-Instruct", "my-checkpoint")
            exec(here.replace('output_dir="out",', 'output_dir="out", use_cpu=True,'), names)


def test_every_file_that_the_readme_names_exists():
    tree = re.search(r"```\n(krpo/.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert tree, "the README shows no file tree"
    folder = ROOT
    for line in tree.group(1).splitlines():
        name = line.split()[0] if line.split() else ""
        if not name:
            continue
        if not line.startswith(" "):
            folder = ROOT / name
        path = folder if not line.startswith(" ") else folder / name
        assert path.exists(), f"README.md names {path.relative_to(ROOT)}"
