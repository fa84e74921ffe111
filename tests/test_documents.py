"""The documents are true: every command that they show is parsed by the command it names, and files named exist."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PARSERS = {
    "krpo-train": "krpo.cli",
    "krpo-eval": "eval.cli",
    "krpo-ablate": "ablations.cli",
    "krpo-report": "reports.cli",
    "krpo-probe": "krpo.probe.cli",
}


def shown_commands() -> list[tuple[str, str]]:
    """Every line of a code block that starts with one of the console commands."""
    found = []
    for document in DOCUMENTS:
        for block in re.findall(r"```(?:bash|console|sh)\n(.*?)```", document.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                line = line.removeprefix("$ ").split("  #")[0].strip()
                if line.split(" ")[0] in PARSERS:
                    found.append((document.name, line))
    return found


@pytest.mark.parametrize(("document", "line"), shown_commands())
def test_a_shown_command_is_understood(document, line):
    name, *arguments = shlex.split(line)
    importlib.import_module(PARSERS[name]).parser().parse_args(arguments)


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
