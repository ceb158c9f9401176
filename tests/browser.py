"""A real browser, without a window: Chromium, driven by Playwright (`pip install playwright`).

Its software GPU is turned on, so that WebGPU is tried where no card is, and it has a camera of its own. For pages that
compute, `NODE_MODULES` names the folder with onnxruntime-web (`npm install onnxruntime-web`).
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SOFTWARE_GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


def runtime() -> Path:
    """onnxruntime-web's files; skips where they, or a browser, are not here."""
    _chromium()
    files = Path(os.environ.get("NODE_MODULES", ""), "onnxruntime-web", "dist")
    if not files.is_dir():
        pytest.skip("needs NODE_MODULES with onnxruntime-web in it")
    return files.resolve()


def _chromium() -> str:
    pytest.importorskip("playwright", reason="needs a browser: pip install playwright, and Chromium")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("needs a browser: apt-get install chromium")
    return program


@contextmanager
def browsing(address: str, *, width: int = 1280, fails: bool = False) -> Iterator[Any]:
    """Playwright's Page, open at `address` in a window so wide. Its scripts end in an error where
    the page `fails`, and else in none."""
    program = _chromium()
    from playwright.sync_api import sync_playwright

    errors: list[Any] = []
    with sync_playwright() as driver:
        # root has no sandbox: Chromium's own rule
        found = driver.chromium.launch(
            executable_path=program, chromium_sandbox=os.geteuid() != 0, args=[*SOFTWARE_GPU, *CAMERA]
        )
        try:
            page = found.new_page(viewport={"width": width, "height": 720})
            page.on("pageerror", lambda error: errors.append(error))
            page.goto(address)
            yield page
        finally:
            found.close()
    assert bool(errors) == fails, errors


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of `folder`, with onnxruntime-web in it as `ort/`."""
    (folder / "ort").symlink_to(runtime())

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *given: object) -> None:
            super().__init__(*given, directory=str(folder))  # type: ignore[arg-type]

        def end_headers(self) -> None:  # what pages need to compute in several threads: docs/embedding.md
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            super().end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def fits(page: Any) -> bool:
    """Whether nothing has to be scrolled sideways."""
    wide: int = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return wide <= 0


def lines_can_be_dragged(page: Any) -> None:
    """In the picture, of a report or comparison: the nearest line follows the mouse, and nothing is marked or dragged
    out of the page. Its slider follows, and leads."""
    first = page.locator(".compare").first
    first.scroll_into_view_if_needed()
    place, line = (
        first.bounding_box(),
        "[...document.querySelectorAll('input[type=range]')].map((one) => +one.value)",
    )
    before = page.evaluate(line)
    across = page.mouse
    middle = place["y"] + place["height"] / 2
    across.move(place["x"] + 0.2 * place["width"], middle)
    across.down()
    across.move(place["x"] + 0.3 * place["width"], middle, steps=5)
    across.up()
    across.move(place["x"] + 0.9 * place["width"], middle)  # it has been let go
    after = page.evaluate(line)
    moved = [number for number, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    assert len(moved) == 1
    assert abs(after[moved[0]] - 30) <= 1
    assert page.evaluate("getSelection().toString()") == ""
    slider = page.locator("input[type=range]").nth(moved[0])
    slider.focus()
    slider.press("End")
    clips = (
        first.locator("xpath=..")
        .locator("img")
        .evaluate_all("(all) => all.map((one) => getComputedStyle(one).clipPath)")
    )
    assert "inset(0px 0px 0px 100%)" in clips
