"""The run directory: whole files or none, torn lines dropped, and a status that a kill cannot forge."""

from __future__ import annotations

import pytest

from krpo.errors import BadInput
from krpo.rundir import RunDir, find_runs, read_jsonl, write_json, write_text


def test_a_torn_last_line_is_dropped(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"step": 1}\n{"step": 2}\n{"step": 3, "rew')
    assert read_jsonl(file) == [{"step": 1}, {"step": 2}]
    file.write_bytes(b'{"step": 1}\n{"step": 2}\n{"a": "\xc3')  # torn inside a character
    assert len(read_jsonl(file)) == 2


def test_a_broken_line_elsewhere_is_named_by_its_number(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\nnonsense\n{"step": 3}\n')
    with pytest.raises(BadInput, match=r"metrics\.jsonl, line 2"):
        read_jsonl(file)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "a.json"
    write_json(file, {"a": 1})
    with pytest.raises(TypeError):
        write_json(file, {"a": object()})
    with pytest.raises(UnicodeEncodeError):
        write_text(file, "\udc80")
    assert file.read_text() == '{\n "a": 1\n}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_numbers_that_are_none_become_null(tmp_path):
    write_json(tmp_path / "a.json", {"a": float("nan"), "b": [float("inf"), 1.5]})
    assert (tmp_path / "a.json").read_text() == '{\n "a": null,\n "b": [\n  null,\n  1.5\n ]\n}\n'


def test_status_follows_the_marker_files(tmp_path):
    run = RunDir(tmp_path / "r")
    assert run.status() == "missing"
    write_text(run.spec_file, "seed: 1\n")
    assert run.status() == "running"
    run.mark_failed("it broke")
    assert run.status() == "failed"
    run.mark_done()
    assert run.status() == "done"
    assert not run.failed_file.exists()
    run.clear()
    assert run.status() == "running"


def test_runs_are_found_at_any_of_the_three_depths(tmp_path):
    for name in ("g/a", "g/b", "h/c"):
        write_text(tmp_path / name / "spec.yaml", "seed: 0\n")
    assert [r.key for r in find_runs(tmp_path)] == ["a", "b", "c"]
    assert [r.key for r in find_runs(tmp_path / "g")] == ["a", "b"]
    assert [r.key for r in find_runs(tmp_path / "g" / "a")] == ["a"]
