"""The report holds everything it shows, says why something was dropped, and shows what was painted."""

import re
from dataclasses import replace
from pathlib import Path

import browser
import numpy as np
import pytest
import trained
from pages import Tags, loads_nothing, picture

from allaprima.errors import OutputError
from allaprima_export import report
from allaprima_export.gate import Lap
from allaprima_export.parity import Panel, Reference
from allaprima_export.pipeline import Exported, export
from allaprima_export.report import GAIN, write_report
from allaprima_train.run import Run


@pytest.fixture(scope="module")
def written(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    reference = Reference(trained.strong("mobile", "nano"))
    panel = Panel.of(reference, {"<wave>.png": trained.soft(61, 93), "golden 700": trained.soft(48, 700)})
    half = exported.made[1]
    lap = Lap("ort", "fp16", "fp32", {"fp32": 10.0, "fp16": 20.0}, 0.0, 9)
    dropped = replace(half, name="int8", why_not="a tile of 3 dB & less", laps=(lap,))
    out = tmp_path_factory.mktemp("report") / "report.html"
    write_report(out, exported.manifest, exported.made, [dropped], panel, "two pictures", ["<b>mind</b>"])
    return out


@pytest.fixture(scope="module")
def page(written: Path) -> Tags:
    return Tags(written.read_text(encoding="utf-8"))


def test_the_report_loads_nothing_from_anywhere(page: Tags) -> None:
    loads_nothing(page)
    assert not re.search(r"\$[a-z]|\{\}", page.text)


def test_the_report_names_what_was_dropped_and_why_and_escapes_what_it_quotes(page: Tags) -> None:
    assert "no: a tile of 3 dB & less" in page.text
    assert "ort 20.0 ms against 10.0 in fp32: 0.50 times as fast" in page.text
    assert "<wave>.png" in page.text
    assert "<b>mind</b>" in page.text
    assert "wave" not in {tag for tag, _ in page.found}


@pytest.mark.parametrize("width", [1280, 360])
def test_its_lines_are_dragged_in_a_browser(written: Path, width: int) -> None:
    with browser.browsing(written.as_uri(), width=width) as page:
        browser.lines_can_be_dragged(page)
        assert browser.fits(page)


def test_each_variant_lies_beside_the_reference_with_a_slider_and_their_difference(page: Tags) -> None:
    shown = [attributes["src"] for tag, attributes in page.found if tag == "img"]
    sliders = [attributes for tag, attributes in page.found if tag == "input"]
    assert len(sliders) == 6  # fp32, fp16 and what was dropped, on two pictures
    assert len(shown) == 3 * len(sliders)
    for place in range(0, len(shown), 3):
        theirs, ours, apart = (picture(str(one)) for one in shown[place : place + 3])
        assert np.array_equal(apart, np.clip(np.abs(ours.astype(int) - theirs) * GAIN, 0, 255))
    expected = Reference(trained.strong("mobile", "nano")).paint(trained.soft(61, 93), "test")
    assert np.array_equal(picture(str(shown[0])), expected)
    assert picture(str(shown[-1])).shape[1] == report.SHOWN[0]  # a wide one is cut, not shrunk


@pytest.mark.usefixtures("traced_before")
def test_export_writes_the_report_and_asks_for_its_folder_first(small_run: Run, tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        export(small_run.folder, tmp_path / "x.prima", report=tmp_path / "nowhere" / "report.html")
    assert caught.value.code == "E_OUTPUT_NO_FOLDER"
    export(
        small_run.folder, tmp_path / "x.prima", variants=["fp32"], planes=[], report=tmp_path / "report.html"
    )
    tags = Tags((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "A small study" in tags.text
    assert "Nothing was raced" in tags.text
