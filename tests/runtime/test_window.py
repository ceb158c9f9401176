"""Windows on a real display: Xvfb's, with keys that xdotool presses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from waiting import until

from allaprima.demo import PHOTOGRAPH

Environment = dict[str, str]


@pytest.fixture
def display() -> Iterator[Environment]:
    """An environment whose DISPLAY answers."""
    server = shutil.which("Xvfb")
    if server is None or shutil.which("xdotool") is None:
        pytest.skip("there are no Xvfb and xdotool here: apt-get install xvfb xdotool")
    number, ours = os.pipe()
    # -noreset: else it begins anew whenever its last client leaves, and turns away who comes just then
    command = [server, "-displayfd", str(ours), "-screen", "0", "800x600x24", "-noreset"]
    with subprocess.Popen(command, pass_fds=[ours], stderr=subprocess.DEVNULL) as screen:
        try:
            os.close(ours)
            with os.fdopen(number) as said:
                yield {**os.environ, "DISPLAY": f":{said.readline().strip()}", "WAYLAND_DISPLAY": ""}
        finally:
            screen.terminate()


def ask(display: Environment, *words: str) -> str:
    """What xdotool says."""
    done = subprocess.run(
        ["xdotool", *words], env=display, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def shown_on(display: Environment) -> str:
    """The window, as soon as it is there. xdotool's own waiting fails where another one goes while it looks."""
    found = [""]

    def there() -> bool:
        command = ["xdotool", "search", "--onlyvisible", "--name", "Alla Prima"]
        found[:] = subprocess.run(
            command, env=display, capture_output=True, text=True, check=False
        ).stdout.split()
        return bool(found)

    assert until(there, seconds=60)
    return found[0]


def test_a_live_window_opens_with_the_picture_alone_and_hears_keys(display: Environment) -> None:
    command = [
        sys.executable,
        "-m",
        "allaprima",
        "live",
        "fake:160x96@20",
        "--style",
        "restore",
        "--seconds",
        "60",
    ]
    with subprocess.Popen(command, env=display, stderr=subprocess.PIPE, text=True) as live:
        try:
            window = shown_on(display)
            assert until(lambda: "160x96" in ask(display, "getwindowgeometry", window))
            ask(display, "key", "--window", window, "s")  # side by side, in the same width
            assert until(lambda: "160x48" in ask(display, "getwindowgeometry", window))
            ask(display, "key", "--window", window, "q")
            _, said = live.communicate(timeout=30)
        finally:
            live.kill()
    assert live.returncode == 0
    assert "font" not in said.lower()  # Qt's complaints


def test_a_film_in_a_window_ends_and_a_picture_stays_until_a_key_is_pressed(display: Environment) -> None:
    command = [sys.executable, "-m", "allaprima", "run", "--style", "restore", "--window"]
    film = [*command, "bars:96x64?seconds=0.1"]
    subprocess.run(film, env=display, capture_output=True, timeout=60, check=True)
    with subprocess.Popen([*command, str(PHOTOGRAPH)], env=display, stderr=subprocess.DEVNULL) as picture:
        try:
            window = shown_on(display)
            time.sleep(3)  # long enough to paint it
            assert picture.poll() is None

            def gone() -> bool:  # a key that comes before the painting is none
                subprocess.run(
                    ["xdotool", "key", "--window", window, "x"], env=display, capture_output=True, check=False
                )
                return picture.poll() is not None

            assert until(gone, 30)
            assert picture.returncode == 0
        finally:
            picture.kill()


@pytest.mark.parametrize(
    "command", [["live", "fake:160x96@20"], ["run", str(PHOTOGRAPH), "--window"]], ids=str
)
def test_closing_the_window_ends_the_run(command: list[str], display: Environment) -> None:
    manager = shutil.which("openbox")
    if manager is None or shutil.which("wmctrl") is None:
        pytest.skip("there are no openbox and wmctrl here: apt-get install openbox wmctrl")
    words = [sys.executable, "-m", "allaprima", *command, "--style", "restore"]
    with subprocess.Popen([manager], env=display, stderr=subprocess.DEVNULL) as managing:
        try:
            with subprocess.Popen(words, env=display, stderr=subprocess.PIPE, text=True) as shown:
                try:
                    shown_on(display)
                    time.sleep(3)  # it is closed when its picture is there
                    subprocess.run(["wmctrl", "-c", "Alla Prima"], env=display, check=True)
                    _, said = shown.communicate(timeout=30)
                finally:
                    shown.kill()
        finally:
            managing.terminate()
    assert shown.returncode == 0, said


def test_opencv_is_loaded_before_pyav_where_there_is_a_display() -> None:
    """Else the first window hangs, on Linux with the wheels of both."""
    program = "import sys, allaprima.sources; print(*(name for name in sys.modules if name in ('av', 'cv2')))"
    for display, order in ((":1094", "cv2 av"), ("", "av")):
        asked = {**os.environ, "DISPLAY": display, "WAYLAND_DISPLAY": ""}
        done = subprocess.run(
            [sys.executable, "-c", program], env=asked, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == (order if sys.platform == "linux" else "av")


def test_a_program_that_has_loaded_pyav_first_is_told_and_does_not_hang(display: Environment) -> None:
    program = """
import av, os, sys
os.environ["DISPLAY"] = sys.argv[1]
from allaprima.sinks.window import WindowSink
WindowSink()
"""
    command = [sys.executable, "-c", program, display["DISPLAY"]]
    late = {**display, "DISPLAY": ""}  # as if a program loaded av, and then cv2 by WindowSink
    done = subprocess.run(command, env=late, capture_output=True, text=True, timeout=60, check=False)
    if "import cv2, or allaprima.sources, before av" not in done.stderr:
        assert done.returncode == 0, done.stderr  # an av that brings no library for X
