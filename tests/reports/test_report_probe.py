"""The report of a probe: its finding and its figure from a table whose answer is known."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pandas as pd
import pytest

from krpo.errors import BadInput
from reports.build import draw
from reports.cli import main
from reports.figures import gradient_variance
from reports.paper import DATA, render_paper
from reports.probe import finding, read_probe, variance_table
from reports.report import render_report

HEAD = "group_size,noise,estimator,measure,value,stderr,low,high,batches,method"


def write_probe(folder: Path) -> Path:
    """KRPO over GRPO: 4 / 2 at G = 2, told apart; 1.1 at G = 8, not; `krpo_unit_rms` is KRPO again."""
    lines = [HEAD]
    over_oracle = {2: {"grpo": 2.0, "krpo": 4.0}, 8: {"grpo": 1.0, "krpo": 1.1}}
    for noise in ("none", '"flip(rate=0.2)"'):
        for size, values in over_oracle.items():
            for arm, of in {"grpo": "grpo", "krpo": "krpo", "krpo_unit_rms": "krpo", "oracle": ""}.items():
                value = values.get(of, 1.0)
                first = value / values["grpo"]
                order = 0.4 if of == "krpo" else 0.0
                for name, x in {"scaled_over_oracle": value, "scaled_over_first": first, "order_share": order}.items():
                    lines.append(f"{size},{noise},{arm},{name},{x},0.1,{0.8 * x},{1.25 * x},64,log jackknife t")
                lines.append(f"{size},{noise},{arm},variance_model,{0.9 * value},0.1,,,64,log jackknife t")
    folder.mkdir(parents=True)
    (folder / "results.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_the_finding_names_where_the_interval_leaves_one(tmp_path: Path) -> None:
    sentence, detail = finding(read_probe(write_probe(tmp_path / "p")))
    assert sentence == (
        "The gradient variance of KRPO was higher than GRPO's at G = 2, not told apart from GRPO's at G = 8 (clean): "
        "2.00 times (1.60 to 2.50) at G = 2, 1.10 (0.88 to 1.38) at 8."
    )
    assert "(flip 0.2): 2.00 times" in detail


@pytest.mark.parametrize(
    ("cells", "beside", "value"),
    [
        (("", "", ""), "not set beside GRPO's at G = 2", "1.10 times"),
        (("4", "", ""), "set beside GRPO's without an interval at G = 2", "4.00 times (no interval) at G = 2"),
        (("4", "3", ""), "set beside GRPO's without an interval at G = 2", "4.00 times (no interval) at G = 2"),
    ],
)
def test_a_ratio_without_a_value_or_an_interval_is_no_finding(
    cells: tuple[str, str, str], beside: str, value: str, tmp_path: Path
) -> None:
    file = write_probe(tmp_path / "p") / "results.csv"
    ratio, low, high = cells
    row = "2,none,krpo,scaled_over_first,{},0.1,{},{}"
    file.write_text(file.read_text().replace(row.format(2.0, 1.6, 2.5), row.format(ratio, low, high)))
    said = f"was not told apart from GRPO's at G = 8, {beside} (clean): {value}"
    assert said in finding(read_probe(file.parent))[0]


def test_the_figure_draws_each_curve_once_and_names_the_others(tmp_path: Path) -> None:
    table = gradient_variance.table(read_probe(write_probe(tmp_path / "p")))
    assert set(table[table.stands_for.notna()].estimator) == {"krpo_unit_rms"}
    assert "KRPO (unit RMS) with KRPO" in gradient_variance.caption(table)
    figure = gradient_variance.draw(table, 2)
    assert [ax.get_title() for ax in figure.axes] == ["clean", "flip 0.2", "", ""]
    krpo = next(line for line in figure.axes[0].lines if len(line.get_xdata()) == 2 and line.get_ydata()[0] == 4)
    assert list(krpo.get_ydata()) == [4.0, 1.1]
    assert draw("gradient_variance", table, 1) == draw("gradient_variance", table, 1)


def test_the_table_puts_the_ratios_side_by_side(tmp_path: Path) -> None:
    frame = variance_table(read_probe(write_probe(tmp_path / "p"))).frame
    row = frame.query("condition == 'clean' and estimator == 'krpo' and group_size == 2").iloc[0]
    assert [row.value, row["first"], row.model, row.order] == [4.0, 2.0, 3.6, 0.4]
    assert "oracle" not in set(frame.estimator)


def test_a_probes_folder_has_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_probe(tmp_path / "p")
    assert main([str(root)]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page == root / "report" / "index.html"
    assert "higher than GRPO&#39;s at G = 2" in page.read_text()
    assert {path.suffix for path in (page.parent / "figures").iterdir()} == {".csv", ".pdf", ".svg", ".png"}
    assert not render_report(root).changed
    (root / "results.csv").write_text((root / "results.csv").read_text().replace("64", "65"))
    assert render_report(root).changed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "has no column group_size"),
        ("", "cannot be read as a table"),
        (HEAD + "\n2,none,grpo,snr,1,1,1,1,9,t\n", "holds no row 'scaled_over_oracle'"),
        (HEAD + "\n2,none,grpo,snr,1,1,1,1,9,t\n2,none,gr", "its last line is torn"),
        (
            HEAD + "\n2,none,grpo,snr,1,1,1,1,9,t\n2,none,krpo,snr,x,1,1,1,9,t\n",
            "line 3: value is 'x'; expected a number",
        ),
        (HEAD + "\nmany,none,grpo,snr,1,1,1,1,9,t\n", "line 2: group_size is 'many'; expected a number"),
        (HEAD + "\n-2,none,grpo,snr,1,1,1,1,9,t\n", "line 2: group_size is '-2'; expected a number above 0"),
        (HEAD + "\n2,,grpo,snr,1,1,1,1,9,t\n", "line 2: noise is ''; expected a value"),
        (
            HEAD + "\n2,none,grpo,snr,1,1,1,1,9,t\n2,none,grpo,snr,1,1,1,1,9,t\n",
            "line 3: measure is 'snr'; expected each",
        ),
        (HEAD + "\n2,none,oracle,scaled_over_oracle,1,1,1,1,9,t\n", "holds no estimator but the oracle"),
        (HEAD + "\n2,none,krpo,scaled_over_first,-1,1,,,9,t\n", "line 2: value is '-1'; expected a ratio"),
        (HEAD + "\n2,none,krpo,snr,1,1,1.8,2.2,9,t\n", "line 2: value is '1'; expected a value inside its interval"),
    ],
)
def test_a_table_of_something_else(text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "results.csv").write_text(text)
    assert main([str(tmp_path)]) == 2
    assert said in capsys.readouterr().err


def test_a_probe_is_not_merged_with_a_grid(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a report of its own"):
        render_report([write_probe(tmp_path / "p"), tmp_path])


def test_the_probe_is_a_chapter_of_the_paper(tmp_path: Path) -> None:
    write_probe(tmp_path / "data" / "probe")
    page = render_paper(tmp_path / "out", tmp_path / "data").page.read_text()
    assert 'id="probe"' in page
    assert "The variance of the gradient" in page
    results = json.loads((tmp_path / "out" / "probe" / "results.json").read_text())
    assert [figure["name"] for figure in results["figures"]] == ["gradient_variance"]


def test_the_stored_probe_says_what_its_table_says() -> None:
    rows = pd.read_csv(DATA / "probe" / "results.csv").query(
        "measure == 'scaled_over_first' and estimator == 'krpo' and noise == 'none'"
    )
    sentence = finding(read_probe(DATA / "probe"))[0]
    for row in rows.itertuples():
        assert f"{row.value:.2f} ({row.low:.2f} to {row.high:.2f})" in sentence.replace(" times", "")


def read_or_said(folder: Path) -> tuple[pd.DataFrame | None, str]:
    try:
        return read_probe(folder), ""
    except BadInput as error:
        return None, str(error)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(60))
def test_cells_and_rows_that_are_missing_or_odd(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    file = write_probe(tmp_path / "p") / "results.csv"
    head, *lines = file.read_text().splitlines()
    for _ in range(4):
        row = rng.randrange(len(lines))
        cells = lines[row].split(",")
        if rng.random() < 0.4:
            del lines[row]
        elif rng.random() < 0.3:
            lines = [line for line in lines if f",{cells[2]},{cells[3]}," not in line]  # a whole measure of an arm
        else:
            cells[rng.randrange(len(cells))] = rng.choice(["", "NAN", "inf", "x", "0", "-1", "1e300", "a$b"])
            lines[row] = ",".join(cells)
    file.write_text("\n".join([head, *lines]) + "\n")
    probe, said = read_or_said(file.parent)
    if probe is None:
        assert said.startswith(str(file))
        return
    assert "nan" not in " ".join([*finding(probe), *map(str, variance_table(probe).cells)])
    if not (table := gradient_variance.table(probe)).empty:
        assert "nan" not in gradient_variance.caption(table) + gradient_variance.alt(table)
        if seed % 10 == 0:
            draw("gradient_variance", table, 1)
