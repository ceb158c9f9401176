"""From a training run of `fuse` to a joined picture: the bundle with two pictures, its runtime, the command."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
import trained
from PIL import Image as Pictures
from PIL import ImageFilter

from allaprima.cli import main
from allaprima.errors import InputError, UsageError
from allaprima.panorama import panorama, stack
from allaprima.stylizer import Stylizer
from allaprima_export.pipeline import export
from allaprima_train.generators.fuser import Fuser
from allaprima_train.recipe import parse_recipe
from allaprima_train.run import Run
from allaprima_train.transfer import begin_with, read_weights


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuse")
    for number in range(4):
        Pictures.fromarray(trained.soft(64, 80, number)).save(folder / f"{number}.png")
    recipe = parse_recipe(
        f"""
name = "fuse"
method = "fuse"
[data]
content = ["{folder}"]
held_out = 1
[generator]
network = "fuser"
size = "nano"
[fuse.bracket]
seam = 1.0
""",
        "test",
    )
    run = Run(folder / "run")
    run.begin(recipe)
    torch.manual_seed(0)
    network = Fuser("nano")
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):  # as after a training; where they are zero, the graph needs none
            torch.nn.init.normal_(parameter, std=0.01)
    run.save_weights(network, {"step": "1"})
    return export(run.folder, folder / "fuse.prima", variants=["fp32"]).path


def test_a_training_begins_with_such_a_bundle_and_weighs_as_it_does(bundle: Path) -> None:
    """What was trained and what a bundle of it begins differ by rounding only."""
    shipped = Run(bundle.parent / "run").generator()[0]
    begun = Fuser("nano").eval()
    pictures = torch.rand(1, 2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = cast(Fuser, shipped).weights(pictures)
        assert (begun.weights(pictures) - wanted).abs().max() > 1e-3
        assert begin_with(begun, read_weights(str(bundle))).startswith("all ")
        assert torch.allclose(begun.weights(pictures), wanted, atol=1e-5)


@pytest.fixture(scope="module")
def joiner(bundle: Path) -> Stylizer:
    return Stylizer.open(bundle, backend="ort", precision="fp32", threads=1)


def scene(height: int = 220, width: int = 460) -> np.ndarray:
    """Blobs of many sizes, none like another: something for features to hold on to."""
    chance = np.random.default_rng(5)
    layers = []
    for size in (3, 7, 16):
        small = chance.integers(0, 256, (height // size + 2, width // size + 2, 3), dtype=np.uint8)
        layers.append(np.asarray(Pictures.fromarray(small).resize((width, height)), np.float32))
    mixed = Pictures.fromarray((np.mean(layers, axis=0)).astype(np.uint8))
    return np.asarray(mixed.filter(ImageFilter.GaussianBlur(0.8)))


SCENE = scene()


def lit(picture: np.ndarray, stops: float) -> np.ndarray:
    light = (picture / 255) ** 2.2 * 2**stops
    return (np.clip(light, 0, 1) ** (1 / 2.2) * 255).astype(np.uint8)


def test_crops_in_different_light_become_the_scene_again_without_a_seam(joiner: Stylizer) -> None:
    left, middle, right = SCENE[:, :220], SCENE[:, 120:350], SCENE[:, 240:]
    joined = panorama([lit(left, -0.3), lit(middle, 0.2), lit(right, -0.1)], joiner)
    height, width = joined.shape[:2]
    assert width > 0.93 * SCENE.shape[1]
    assert height > 0.93 * SCENE.shape[0]
    # where it lies in the scene: a few pixels are cut off at the border
    cut = SCENE.astype(float)
    offsets = [
        (np.abs(joined - cut[down : down + height, across : across + width]).mean(), down, across)
        for down in range(SCENE.shape[0] - height + 1)
        for across in range(SCENE.shape[1] - width + 1)
    ]
    _, down, across = min(offsets)
    ratio = joined.mean(2) / np.maximum(cut[down : down + height, across : across + width].mean(2), 1)
    columns = np.median(ratio, axis=0)
    assert np.abs(np.diff(columns)).max() < 0.05  # a seam between these pictures would be a step of 0.15


def test_a_plain_sky_has_no_seam_where_lenses_darken_their_corners(joiner: Stylizer) -> None:
    """A gain for each picture cannot bring these together, and no network sees so far."""
    seen = np.concatenate([np.full((140, 460, 3), (90, 130, 190), np.uint8), SCENE])
    parts = []
    for part in (seen[:, :280], seen[:, 170:]):
        down, across = (np.linspace(-1, 1, side) for side in part.shape[:2])
        parts.append((part * (1 - 0.12 * (down[:, None] ** 2 + across**2))[..., None]).astype(np.uint8))
    sky = panorama(parts, joiner)[10:110].mean(0)  # (W, 3): of a hundred rows
    assert sky.shape[0] > 400
    assert np.abs(np.diff(sky, axis=0)).max() < 1.5  # of 190 levels; with a seam it is 4 or more


def test_a_stack_is_as_large_as_its_pictures_and_between_them(joiner: Stylizer) -> None:
    dark, light = lit(SCENE, -1), lit(SCENE, 1)
    fused = stack([dark, light], joiner)
    assert fused.shape == SCENE.shape
    assert dark.mean() + 5 < fused.mean() < light.mean() - 5


def test_what_cannot_be_joined_is_refused_with_a_reason(joiner: Stylizer) -> None:
    other = np.ascontiguousarray(np.rot90(scene(300, 300) // 2 + 60))
    with pytest.raises(InputError, match="cannot align c") as refused:
        panorama([SCENE[:, :300], SCENE[:, 120:], other], joiner, names=["a", "b", "c"])
    assert refused.value.code == "E_PANORAMA_ALIGN"
    with pytest.raises(InputError, match="cannot join 1 picture"):
        panorama([SCENE], joiner)
    with pytest.raises(InputError, match="different sizes"):
        stack([SCENE, SCENE[:100]], joiner)
    with pytest.raises(UsageError, match="makes one picture of 2"):
        joiner.paint(SCENE)
    with (
        Stylizer.open("starry", backend="ort", precision="fp32") as painter,
        pytest.raises(UsageError, match="cannot join pictures"),
    ):
        panorama([SCENE, SCENE], painter)


def test_the_command_joins_files(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = {"left": SCENE[:, :280], "right": SCENE[:, 160:]}
    for name, part in parts.items():
        Pictures.fromarray(part).save(tmp_path / f"{name}.png")
    files = [str(tmp_path / f"{name}.png") for name in parts]
    out = tmp_path / "joined.png"
    assert main(["panorama", *files, "-o", str(out), "--style", str(bundle), "--backend", "ort"]) == 0
    assert "2 pictures joined" in capsys.readouterr().out
    with Pictures.open(out) as opened:
        assert opened.width > 0.9 * SCENE.shape[1]
    assert main(["panorama", *files, "-o", str(out), "--style", str(bundle)]) == 4  # it exists
    assert main(["run", files[0], "--style", str(bundle), "--out", str(tmp_path / "x.png")]) == 2
    assert "E_STYLE_PICTURES" in capsys.readouterr().err
