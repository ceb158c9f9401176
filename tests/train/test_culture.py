"""Descriptors against drawn lines and scikit-image, scores against sets made by arithmetic, losses that fall."""

import argparse
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from drawings import picture
from PIL import Image

from allaprima.errors import BatchError, InputError
from allaprima_train.culture import cli, descriptors, score
from allaprima_train.culture.descriptors import NAMES, PARTS, describe, maps, palette
from allaprima_train.culture.losses import CultureLoss


def value(image: np.ndarray, name: str) -> float:
    x = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    return float(describe(x)[0, NAMES.index(name)])


def hatched(degrees: float, width: int = 2, side: int = 128) -> np.ndarray:
    """Black lines on white, 15 pixels apart, at an angle counter-clockwise from level."""
    image = np.full((side, side, 3), 255, np.uint8)
    across, up = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    for offset in range(-90, 91, 15):
        x, y = side / 2 + offset * up, side / 2 + offset * across
        ends = [(round(x + s * 200 * across), round(y - s * 200 * up)) for s in (-1, 1)]
        cv2.line(image, *ends, (0, 0, 0), width, cv2.LINE_AA)
    return image


@pytest.mark.parametrize("degrees", [0, 22.5, 45, 90, 135])
def test_strokes_are_counted_in_their_direction(degrees: float) -> None:
    directions = {name: value(hatched(degrees), name) for name in NAMES if "direction" in name}
    assert max(directions, key=lambda name: directions[name]) == f"line.direction_{int(degrees)}"
    assert sum(directions.values()) == pytest.approx(1, abs=1e-3)


def test_wider_lines_are_wider_and_the_skeleton_agrees() -> None:
    from scipy.ndimage import distance_transform_edt
    from skimage.morphology import skeletonize

    for width in (1, 3, 5, 7):
        image = np.full((96, 96, 3), 255, np.uint8)
        for row in range(10, 90, 20):
            image[row : row + width, 8:88] = 0
        ink = image[..., 0] < 128
        by_skeleton = 2 * distance_transform_edt(ink)[skeletonize(ink)].mean()
        assert value(image, "line.width_dark") == pytest.approx(
            by_skeleton, abs=1.1
        )  # it counts in steps of 2
        assert value(255 - image, "line.width_light") == pytest.approx(by_skeleton, abs=1.1)


@pytest.mark.parametrize("radius", [12, 24, 40])
def test_curvature_is_one_over_the_radius(radius: int) -> None:
    image = np.full((128, 128, 3), 255, np.uint8)
    cv2.circle(image, (64, 64), radius, (0, 0, 0), 2, cv2.LINE_AA)
    assert value(image, "line.curvature") == pytest.approx(1 / radius, rel=0.05)


@pytest.mark.parametrize("radius", [1, 2])
def test_binary_patterns_are_those_of_scikit_image(radius: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With hard steps. Shares within 2 %: at the border the libraries pad differently."""
    from skimage.feature import local_binary_pattern

    light = cv2.GaussianBlur(np.random.default_rng(0).normal(size=(128, 128)), (0, 0), 1.5)
    light = np.round(128 + 40 * light / light.std()).clip(0, 255).astype(np.uint8)
    theirs = local_binary_pattern(light, 8, radius, "uniform").astype(int)
    monkeypatch.setattr(descriptors, "SOFT", 0.02)
    ours = descriptors._binary_patterns(torch.from_numpy(light)[None, None].float(), float(radius))[0]
    assert np.abs(ours.numpy() - np.bincount(theirs.ravel(), minlength=10) / theirs.size).max() < 0.02


def test_colours_are_those_of_opencv() -> None:
    image = picture(5)
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    for axis, name in enumerate(descriptors.AXES):
        assert value(image, f"colour.{name}_mean") == pytest.approx(lab[..., axis].mean(), abs=0.1)
        assert value(image, f"colour.{name}_spread") == pytest.approx(lab[..., axis].std(), abs=0.1)
    assert value(image, "colour.lightness_q25") == pytest.approx(np.quantile(lab[..., 0], 0.25), abs=0.2)


def test_a_palette_names_the_colours_and_how_much_there_is_of_each() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, :30], image[:, 30:] = (200, 30, 20), (10, 40, 180)
    first, second = palette(image)
    assert (first.colour, first.share) == ("#c81e14", 0.75)
    assert (second.colour, second.share) == ("#0a28b4", 0.25)


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_flat_pictures_have_finite_descriptors_and_gradients(grey: float) -> None:
    x = torch.full((2, 3, 48, 40), grey, requires_grad=True)
    found = describe(x)
    found.sum().backward()
    assert found.shape == (2, len(NAMES))
    assert found.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_a_discriminators_maps_have_the_pictures_size_and_a_common_range() -> None:
    x = torch.from_numpy(np.stack([picture(n) for n in range(3)])).permute(0, 3, 1, 2) / 255
    seen = maps(x)
    assert seen.shape == (3, 7, 96, 112)
    assert 0.3 < float(seen.abs().amax()) < 2.5


def line_work(number: int, width: int) -> np.ndarray:
    """A sheet of lines on paper, each a little different."""
    chance = np.random.default_rng(number)
    image = np.full((300, 280, 3), 235 + number % 5, np.uint8)
    for _ in range(40):
        ends = [tuple(int(n) for n in chance.integers(0, 300, 2)) for _ in range(2)]
        cv2.line(image, *ends, (30, 20 + number % 7, 25), width, cv2.LINE_AA)
    return image


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets of six works: thin and wide lines."""
    folder = tmp_path_factory.mktemp("sets")
    for name, width in (("thin", 2), ("wide", 9)):
        (folder / name).mkdir()
        for number in range(6):
            Image.fromarray(line_work(number, width)).save(folder / name / f"{number}.png")
    return folder


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict:  # type: ignore[type-arg]
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    assert cli.run(parser.parse_args([*words, "--json"])) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_a_work_scores_high_in_its_own_set_and_low_in_the_other_and_line_says_why(
    sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new.png"
    Image.fromarray(line_work(77, 2)).save(new)
    own, other = (
        answer(capsys, str(new), "--reference", str(sets / name))["pictures"][str(new)]
        for name in ("thin", "wide")
    )
    assert own["composite"] > 0.5 > other["composite"]
    assert other["parts"]["line"] < 0.5
    assert other["composite"] == pytest.approx(math.prod(other["parts"].values()) ** (1 / 3))
    assert {part: min(1, 1 / far) for part, far in other["distances"].items()} == pytest.approx(
        other["parts"]
    )
    assert {"name", "value", "middle", "spreads"} == set(other["farthest"][0])


def test_a_picture_that_cannot_be_read_is_named_and_the_others_are_scored(
    sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(line_work(77, 2)).save(tmp_path / "new.png")
    (tmp_path / "broken.png").write_text("not a picture")
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    with pytest.raises(BatchError, match=r"1 pictures could not be read - .*broken\.png"):
        cli.run(parser.parse_args([str(tmp_path), "--reference", str(sets / "thin"), "--reasons"]))
    shown = capsys.readouterr().out
    assert "new.png" in shown
    assert "spreads" in shown
    assert "proxy" in shown


def test_a_set_of_two_works_is_no_reference(sets: Path) -> None:
    works = [score.describe_picture(sets / "thin" / f"{n}.png") for n in range(2)]
    with pytest.raises(InputError, match="2 works are too few") as caught:
        score.measure(works)
    assert caught.value.code == "E_DATA_FEW"


def test_an_empty_folder_says_what_to_name(sets: Path, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    with pytest.raises(InputError, match="name a folder of works with --reference"):
        cli.run(parser.parse_args([str(sets), "--reference", str(tmp_path)]))


def test_the_loss_is_small_for_the_sets_own_works_and_leads_towards_them(sets: Path) -> None:
    works = sorted((sets / "thin").glob("*.png"))
    loss = CultureLoss(works, side=280, crop=96)
    crop = torch.from_numpy(line_work(50, 2)[100:196, 90:186].copy()).permute(2, 0, 1)[None] / 255
    away = torch.from_numpy(line_work(50, 9)[100:196, 90:186].copy()).permute(2, 0, 1)[None] / 255
    inside, outside = loss(crop), loss(away)
    assert set(inside) == set(PARTS)
    assert float(sum(inside.values())) < 0.5 * float(sum(outside.values()))
    x = torch.logit(away * 0.9 + 0.05).requires_grad_(True)
    optimiser = torch.optim.Adam([x], lr=0.05)
    sums = []
    for _ in range(25):
        found = loss(torch.sigmoid(x))
        total = found["texture"] + found["line"]
        sums.append(total.item())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    assert sums[-1] < 0.6 * sums[0]
