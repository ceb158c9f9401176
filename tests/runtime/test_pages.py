"""The pages that we write and serve, in a real browser: lines that are dragged, keys that are pressed."""

from __future__ import annotations

import queue
from pathlib import Path

import browser
import numpy as np
import pytest
from media import picture as drawn
from PIL import Image as Pictures
from waiting import until

from allaprima.cli import main
from allaprima.frame import Frame
from allaprima.sinks.page import PageSink

WIDTH = "(one) => one.naturalWidth"


@pytest.mark.parametrize("width", [1280, 360])
def test_lines_of_a_comparison_are_dragged(tmp_path: Path, width: int) -> None:
    names = [tmp_path / f"{name}.png" for name in ("photo", "one", "other")]
    for number, name in enumerate(names):
        Pictures.fromarray(drawn(320, 240, number)).save(name)
    photo, *painted = map(str, names)
    assert main(["compare", *painted, "--on", photo, "--out", str(tmp_path / "page.html")]) == 0
    with browser.browsing((tmp_path / "page.html").as_uri(), width=width) as page:
        browser.lines_can_be_dragged(page)
        assert browser.fits(page)
        first, second = (page.locator("input[type=range]").nth(number) for number in range(2))
        for one, other, value in ((second, first, "10"), (first, second, "90")):  # lines do not cross
            one.fill(value)
            assert other.input_value() == value
        # both lie at 90 now, and can be drawn apart to either side
        place = page.locator(".compare").first.bounding_box()
        middle = place["y"] + place["height"] / 2
        for begin, end, moved in ((93, 97, second), (80, 50, first)):
            page.mouse.move(place["x"] + begin / 100 * place["width"], middle)
            page.mouse.down()
            page.mouse.move(place["x"] + end / 100 * place["width"], middle, steps=3)
            page.mouse.up()
            assert abs(int(moved.input_value()) - end) <= 1
        assert int(first.input_value()) < 60 < int(second.input_value())


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # the second asks for its token
def test_the_live_page_shows_paintings_and_its_keys_are_pressed(host: str) -> None:
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    pressed: queue.Queue[str] = queue.Queue()
    keys = {"n": "next style", " ": "pause"}
    images = [np.full((60, 80 + 20 * number, 3), 90, np.uint8) for number in range(2)]

    def next_key() -> str:
        return pressed.get(timeout=10)

    with PageSink(
        host=host, port=0, status=lambda: "starry <b>, 30 fps", keys=keys, on_key=pressed.put
    ) as sink:
        sink.put(Frame(images[0], 0, 0.0))
        with browser.browsing(sink.address) as page:
            picture = page.locator("#picture")
            assert until(lambda: picture.evaluate(WIDTH) == 80)
            assert until(lambda: bool(sink.put(Frame(images[1], 1, 0.1))) and picture.evaluate(WIDTH) == 100)
            page.get_by_text("starry <b>, 30 fps").wait_for()
            assert page.locator("nav button").all_text_contents() == ["next stylen", "pausespace"]
            page.get_by_role("button", name="next style").click()
            assert next_key() == "n"
            page.keyboard.press(" ")  # the button is no longer what space presses
            assert next_key() == " "
            page.keyboard.press("n")
            assert next_key() == "n"
            page.keyboard.press("x")
            page.keyboard.press("Control+n")
            page.get_by_role("button", name="pause").focus()
            page.keyboard.press(" ")  # by the keyboard it is, once
            assert next_key() == " "
            assert browser.fits(page)
            page.set_viewport_size({"width": 360, "height": 640})
            assert browser.fits(page)
            with sink:
                pass
            page.get_by_text("the painter has gone").wait_for()
    assert pressed.empty()
