"""The whole report: files, page, cache, command line, and a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from synthetic_runs import edit_json, run_of, tear, unfinish, write_grid

import reports
from krpo.errors import BadInput
from krpo.rundir import write_yaml
from reports import figures
from reports.cli import main

NEED_MORE = {
    "aggregates",
    "noise_sweep",
    "axis_sweep",
    "heat_map",
    "pass_at_k",
    "performance_profile",
}  # than the grid of these tests has
FIGURES = [name for name in (*figures.NAMES, *figures.DIAGNOSTICS) if name not in NEED_MORE]


@pytest.fixture
def one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that render often and look at no figure."""
    monkeypatch.setattr(figures, "NAMES", ("final_accuracy",))
    monkeypatch.setattr(figures, "DIAGNOSTICS", ())


@pytest.fixture
def one_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "NAMES", ("learning_curves",))
    monkeypatch.setattr(figures, "DIAGNOSTICS", ())


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_grid(tmp_path_factory.mktemp("page") / "grid", steps=10, seeds=range(4), effects={"krpo": 0.05})


@pytest.fixture(scope="module")
def page(grid: Path) -> Path:
    return reports.render(grid)


class Outline(HTMLParser):
    """What a page refers to and shows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        self.tags.append(tag)
        self.addresses += [facts[key] or "" for key in ("src", "href", "srcset") if key in facts]
        if tag == "img":
            self.images.append(facts)


def test_the_page_is_self_contained(page: Path) -> None:
    text = page.read_text()
    outline = Outline(text)
    assert "script" not in outline.tags
    for address in outline.addresses:
        assert address.startswith("data:") or (page.parent / address).is_file(), address[:80]
    assert len(outline.images) == len(FIGURES)
    for image in outline.images:
        assert len(image["alt"] or "") > 40
        assert int(image["width"] or 0) > int(image["height"] or 0) > 100


def test_the_page_says_what_was_found_and_what_was_not_tested(page: Path) -> None:
    text = page.read_text()
    assert "Does KRPO learn better than GRPO when rewards are noisy?" in text
    assert re.search(r"KRPO scored higher than GRPO: \+\d\.\d points with clean rewards \(\+\d\.\d to \+\d\.\d\)", text)
    assert "4 paired seeds; the intervals hold at 95% for the 2 conditions jointly" in text
    assert "Held-out accuracy on sums after the last step" in text  # the declared endpoint
    assert "16 of 16 done, 4 seeds" in text
    assert "Without a scale control (krpo_unit_rms)" in text
    assert "a sign-flip test cannot reject at the 5% level with fewer than 6" in text
    assert "laboratory" in text  # the machine
    assert "commit 0123456789ab" in text


def test_the_files_beside_the_page(page: Path) -> None:
    names = {str(p.relative_to(page.parent)) for p in page.parent.rglob("*") if p.is_file()}
    found = ("accuracy", "differences", "aggregates", "learning", "metrics", "extraction", "flips")
    for table in (*found, "runs", "cost", "configuration", "environment", "deviations"):
        assert {f"tables/{table}.{kind}" for kind in ("csv", "tex", "md")} <= names
    for figure in FIGURES:
        assert {f"figures/{figure}.{kind}" for kind in ("csv", "pdf", "png", "svg")} <= names
    tex = (page.parent / "tables/differences.tex").read_text()
    assert tex.count(r"\toprule") == tex.count(r"\bottomrule") == 1
    columns = tex.split(r"\begin{tabular}{")[1].split("}")[0]
    body = [line for line in tex.splitlines() if line.endswith(r"\\")]
    assert len(body) == 13
    assert all(line.count("&") == len(columns) - 1 for line in body)
    result = json.loads((page.parent / "results.json").read_text())
    assert result["verdict"] == "higher"


def test_two_renderings_are_equal_byte_for_byte(one_figure: None, grid: Path, tmp_path: Path) -> None:
    page = reports.render(grid, tmp_path / "once")
    other = reports.render(grid, tmp_path / "again").parent
    for file in page.parent.rglob("*"):
        if file.is_file():
            assert (other / file.relative_to(page.parent)).read_bytes() == file.read_bytes(), file.name


def test_model_answers_and_names_are_escaped(one_figure: None, tmp_path: Path) -> None:
    grid = write_grid(
        tmp_path / "grid", steps=2, seeds=[0, 1], noises=["none"], grid={"question": "<script>x</script>"}
    )
    unfinish(run_of(grid, "krpo", "none", 1), failed="<img src=x onerror=alert(1)> & {{ 7 * 7 }}")
    text = reports.render(grid).read_text()
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "&lt;img src=x onerror=alert(1)&gt; &amp; {{ 7 * 7 }}" in text


def test_a_grid_with_every_fault_renders_and_says_what_it_did(one_figure: None, tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", steps=6)
    tear(run_of(grid, "grpo", "none", 0).metrics_file)
    unfinish(run_of(grid, "krpo", "none", 1), failed="loss is NaN")
    unfinish(run_of(grid, "krpo", "none", 2))
    shutil.rmtree(run_of(grid, "krpo", "none", 3).path)
    run_of(grid, "krpo", "none", 4).metrics_file.write_text("")
    run_of(grid, "grpo", "flip(rate=0.2)", 0).spec_file.write_text(": [")
    text = reports.render(grid).read_text()
    assert "1 of 18 runs failed and are missing from the comparison: 1 of KRPO." in text
    assert "1 run has not finished: this is an interim report" in text
    assert "2 of 20 planned runs have no readable run directory" in text
    assert (
        "Seeds without a partner in the other arm were left out: 1, 2, 3 with clean rewards; 0 under flip 0.2." in text
    )
    assert "1 torn line of 6 dropped" in text
    assert "cannot be read" in text


def test_no_finished_run(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", steps=3, seeds=[0, 1], noises=["none"])
    for estimator in ("grpo", "krpo"):
        for seed in (0, 1):
            unfinish(run_of(grid, estimator, "none", seed))
    with pytest.raises(BadInput, match="none of 4 runs has finished"):
        reports.render(grid)


def test_runs_without_evaluation_give_curves_and_no_verdict(one_curve: None, tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", steps=3, seeds=[0, 1], noises=["none"])
    for file in grid.glob("*/eval/sums.json"):
        file.unlink()
    text = reports.render(grid).read_text()
    assert "Nothing can be said: none of" in text
    assert 'id="learning_curves"' in text


def test_several_grids(one_figure: None, tmp_path: Path) -> None:
    a = write_grid(tmp_path / "a", steps=2, seeds=[0, 1], noises=["none"])
    b = write_grid(tmp_path / "b", steps=2, seeds=[0, 1], noises=["none"], estimators=["grpo", "rloo"])
    page = reports.render([a, b])
    assert page == tmp_path.resolve() / "a+b" / "report" / "index.html"
    assert "RLOO" in page.read_text()


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_an_unchanged_report_loads_nothing_heavy_and_is_quick(one_figure: None, tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", steps=2, seeds=[0, 1], noises=["none"])
    page = reports.render(grid)
    heavy = "{'torch', 'matplotlib', 'pandas', 'vllm', 'lm_eval', 'ray'} & set(sys.modules)"
    call = f"from reports.cli import main; main([{str(grid)!r}])"
    code = f"import sys, time; {call}; print({heavy}); print(time.process_time())"
    path, loaded, seconds = python(code).splitlines()
    assert (path, loaded) == (str(page), "set()")
    assert float(seconds) < 1.5  # processor time, whatever else the machine does


def test_rendering_never_loads_torch(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", steps=2, seeds=[0, 1], noises=["none"])
    few = "from reports import figures; figures.NAMES, figures.DIAGNOSTICS = ('final_accuracy',), ()"
    said = python(f"import sys, reports; {few}; reports.render({str(grid)!r}); print('torch' in sys.modules)")
    assert said.strip() == "False"


BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
PROBE = """<script>addEventListener("load", () => { const images = [...document.images];
document.title = JSON.stringify({sizes: images.map(i => [i.naturalWidth, i.clientWidth, i.clientHeight, i.alt.length]),
 wide: document.documentElement.scrollWidth, view: innerWidth}); });</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1200, 500])
def test_in_a_real_browser(width: int, page: Path, tmp_path: Path) -> None:
    probe = tmp_path / "probe.html"  # the page with one script that reports what the browser made of it
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    probe.write_text(text.replace("</body>", PROBE))
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    options += " --disable-component-update --disable-sync --enable-logging=stderr --v=0"
    command = [str(BROWSER), *options.split(), f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900"]
    done = subprocess.run(
        [*command, "--dump-dom", probe.as_uri()], capture_output=True, text=True, timeout=90, check=True
    )
    found = json.loads(re.search(r"<title>(.*?)</title>", done.stdout)[1].replace("&quot;", '"'))
    assert len(found["sizes"]) == len(FIGURES)
    for natural, shown, high, described in found["sizes"]:
        assert natural > 0
        assert shown > min(width, 900) * 0.8
        assert high > 100
        assert described > 40
    assert found["wide"] <= found["view"]  # nothing sticks out: tables scroll by themselves
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_a_finished_run_without_an_evaluation_is_counted(
    one_figure: None, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    grid = write_grid(tmp_path / "grid", steps=4, seeds=range(3), noises=["none"])
    for arm in ("grpo", "krpo"):
        (run_of(grid, arm, "none", 1).eval / "sums.json").unlink()
    assert main([str(grid)]) == 0
    assert "left out: 2, mended: 0" in capsys.readouterr().err
    text = (grid / "report" / "index.html").read_text()
    assert "2 finished runs could not be compared" in text
    assert "KRPO, clean, seed 1: is done but has no score on sums (accuracy) to compare" in text


def test_no_spread_no_interval_anywhere(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", steps=4, seeds=range(3), noises=["none"], effects={"krpo": 0.1},
                      spread=0.0, pair_spread=0.0)  # fmt: skip
    folder = reports.render(grid).parent
    text = (folder / "index.html").read_text()
    assert "All 3 paired seeds show the same difference of +10.0 points" in text
    assert "+10.0 to +10.0" not in text
    assert "4 means have no interval: a single seed, or no spread over seeds." in text  # of all questions, three levels
    row = next(line for line in (folder / "tables" / "differences.md").read_text().splitlines() if "| all |" in line)
    assert "| +10.0 | \N{EN DASH} | 0.0 |" in row


def test_runs_that_did_not_begin_alike_are_said(one_figure: None, tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", steps=2, seeds=[0, 1], noises=["none"])
    for seed in (0, 1):
        edit_json(run_of(grid, "krpo", "none", seed).manifest_file, base_weights="other")
    text = reports.render(grid).read_text()
    assert "The arms did not begin alike: the weights of tiny differ" in text


def test_each_run_is_left_out_once(one_figure: None, tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid", steps=2, seeds=range(4), noises=["none"])
    run_of(grid, "krpo", "none", 0).spec_file.write_text(": [")
    (run_of(grid, "krpo", "none", 1).eval / "sums.json").unlink()
    plan = yaml.safe_load((grid / "grid.yaml").read_text())
    write_yaml(grid / "grid.yaml", plan | {"seeds": [0, 1, 2]})
    text = reports.render(grid).read_text()
    assert "1 of 6 planned runs have no readable run directory." in text
    assert "1 finished run could not be compared" in text
    assert "2 stored runs are not part of the grid file as it stands now." in text


def test_many_grids_and_names_with_spaces(one_figure: None, tmp_path: Path) -> None:
    names = [f"{'a long name ' * 6}{i}" for i in range(5)]
    grids = [write_grid(tmp_path / name, steps=2, seeds=[0], noises=["none"]) for name in names]
    page = reports.render(grids)
    assert page.parent.parent.name.startswith("a long name ")
    assert "+4 more, " in page.parent.parent.name
    assert f"krpo-report &#39;{grids[0]}&#39;" in page.read_text()


@pytest.mark.parametrize("keep", [(), ("step",), ("step", "accuracy"), ("step", "loss")])
def test_metrics_of_which_nothing_is_left(tmp_path: Path, keep: tuple[str, ...]) -> None:
    grid = write_grid(tmp_path / "grid", steps=4, seeds=range(2), noises=["none"])
    for file in grid.glob("*/metrics.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        kept = [{key: row[key] if key == "step" else None for key in keep} for row in rows if keep]
        file.write_text("".join(json.dumps(row) + "\n" for row in kept))
    text = reports.render(grid).read_text()
    assert "2 paired seeds" in text
    assert "has metrics of 0 steps of 4" in text or "at 4 of 4 steps" in text
