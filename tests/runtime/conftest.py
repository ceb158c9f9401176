"""Small media for the tests of the runtime, and an empty folder for what they write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from media import write_video


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """`make_video("name.mp4", **what)`: see `write_video`."""
    folder = tmp_path / "in"
    folder.mkdir()
    return lambda name="clip.mp4", **what: write_video(folder / name, **what)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty folder for outputs, in which nothing may be left behind."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder
