"""The examples run as they are."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def arguments(name: str, folder: Path) -> list[str]:
    if name.startswith("01"):
        picture = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / "photo.png")
        return [str(folder / "photo.png"), str(folder / "painted.png")]
    if name.startswith("02"):
        return ["bars:160x120@25?seconds=2", str(folder / "painted.mp4")]
    return []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path: Path, tmp_path: Path) -> None:
    words = arguments(path.name, tmp_path)
    done = subprocess.run(
        [sys.executable, str(path), *words], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if words:
        assert Path(words[-1]).stat().st_size > 500


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 3
