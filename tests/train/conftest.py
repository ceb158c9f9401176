"""Small pictures, a small feature network and a small recipe: enough to train for real within seconds."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from drawings import picture
from PIL import Image
from safetensors.torch import save_file

from allaprima_train import quality
from allaprima_train.features import FILE, Vgg19
from allaprima_train.recipe import Recipe, parse_recipe


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(10):
        Image.fromarray(picture(number)).save(folder / f"{number}.png")
    Image.fromarray(picture(99, 128, 128)).save(tmp_path / "style.png")
    return folder


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the right shapes, random: tests of the machinery need no trained eyes."""
    torch.manual_seed(0)
    network = Vgg19()
    weights = {name: t * 1.5 for name, t in network.state_dict().items() if name != "mean"}
    path = tmp_path_factory.mktemp("features") / FILE
    save_file(weights, path)
    return path


@pytest.fixture
def recipe(photos: Path) -> Callable[..., Recipe]:
    text = f"""
name = "small"
method = "perceptual"
seed = 3
[data]
content = ["{photos}"]
crop = 64
context = 16
held_out = 2
workers = 0
[generator]
size = "nano"
[perceptual]
style = "{photos.parent / "style.png"}"
style_size = 64
[train]
steps = 8
batch = 2
warmup = 2
log_every = 1
save_every = 4
sample_every = 8
"""
    return lambda *overrides: parse_recipe(text, "small.toml", overrides)


@pytest.fixture(autouse=True)
def small_style_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A style's picture at 768 pixels takes the feature network seconds; one small size has the same arithmetic."""
    monkeypatch.setattr(quality, "STYLE_SIZES", (128,))
