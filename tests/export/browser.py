"""A real browser, without a window: it opens a page of ours and posts back what came of it.

Chromium and its software GPU, so that WebGPU is tried where no card is. `NODE_MODULES` names the folder with
onnxruntime-web (`npm install onnxruntime-web`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

SOFTWARE_GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


def require() -> tuple[str, Path]:
    """The browser's program and onnxruntime-web's files; skips where one is not here."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    files = Path(os.environ.get("NODE_MODULES", ""), "onnxruntime-web", "dist")
    if not program or not files.is_dir():
        pytest.skip("needs Chromium, and NODE_MODULES with onnxruntime-web in it")
    return program, files.resolve()


def posted(folder: Path, page: str, expected: int, seconds: float = 120) -> dict[str, bytes]:
    """Serve `folder`, with onnxruntime-web as `ort/`, open `page` in it, and wait for so many posts: {path: body}."""
    program, files = require()
    (folder / "ort").symlink_to(files)
    answers: dict[str, bytes] = {}
    enough = threading.Event()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *given: object) -> None:
            super().__init__(*given, directory=str(folder))  # type: ignore[arg-type]

        def end_headers(self) -> None:  # what pages need to compute in several threads: docs/embedding.md
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            super().end_headers()

        def do_POST(self) -> None:
            answers[unquote(self.path[1:])] = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()
            if len(answers) >= expected:
                enough.set()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/{page}"
        profile = f"--user-data-dir={folder / 'profile'}"
        root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's own rule
        command = [program, "--headless", profile, *root, *SOFTWARE_GPU, *CAMERA, address]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert enough.wait(seconds), f"after {seconds} s only {sorted(answers)} had come"
        finally:
            browser.kill()
            browser.wait()
            server.shutdown()
    return answers
