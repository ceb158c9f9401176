"""What may be done to a painting afterwards."""

import media
import numpy as np
import pytest
from PIL import Image as Pictures
from PIL import ImageFilter

from allaprima.cli import main
from allaprima.errors import UsageError
from allaprima.frame import Frame
from allaprima.post import LUMA, Post, grain_phase, texture
from allaprima.sources.video import VideoSource


def picture(seed: int, height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 196, (height, width, 3), np.uint8)


def luma(image: np.ndarray) -> np.ndarray:
    return image.astype(float) @ LUMA


def test_without_stages_the_painting_is_not_touched():
    painted = Frame(picture(1))
    assert Post()(Frame(picture(0)), painted) is painted
    assert not Post()


def test_matched_luminance_is_the_photographs():
    photo, painted = picture(0), picture(1)
    found = Post(match_luminance=1).finish(photo, painted, 0)
    inside = (found.min(2) > 0) & (found.max(2) < 255)  # clipped colours cannot have every light
    assert np.abs(luma(found) - luma(photo))[inside].max() < 1
    assert inside.mean() > 0.5


def test_matched_palette_keeps_the_paintings_light_and_takes_the_photographs_colours():
    photo, painted = picture(0), picture(1)
    found = Post(match_palette=1).finish(photo, painted, 0)
    inside = (found.min(2) > 0) & (found.max(2) < 255)
    assert np.abs(luma(found) - luma(painted))[inside].max() < 1
    colour = found - luma(found)[..., None], photo - luma(photo)[..., None]
    assert np.abs(colour[0] - colour[1])[inside].max() < 1.5


def test_match_enlarges_the_photograph_of_a_network_that_enlarges():
    photo = np.full((4, 5, 3), 100, np.uint8)
    photo[:, 2:] = 200
    found = Post(match_luminance=1).finish(photo, np.full((8, 10, 3), 30, np.uint8), 0)
    assert np.array_equal(found[:, :4], np.full((8, 4, 3), 100))
    assert np.array_equal(found[:, 4:], np.full((8, 6, 3), 200))


def test_denoise_is_the_median():
    painted = picture(1)
    wanted = np.asarray(Pictures.fromarray(painted).filter(ImageFilter.MedianFilter(3)))
    assert np.array_equal(Post(denoise=1).finish(picture(0), painted, 0), wanted)


def test_sharpen_leaves_flat_areas_and_steepens_edges():
    painted = np.full((10, 10, 3), 100, np.uint8)
    painted[:, 5:] = 140
    found = Post(sharpen=1).finish(painted, painted, 0)
    assert found[5, 0, 0] == 100
    assert found[5, 9, 0] == 140
    assert found[5, 4, 0] < 100
    assert found[5, 5, 0] > 140


def test_grain_changes_with_every_frame_and_is_the_same_for_the_same_one():
    grey = np.full((300, 400, 3), 128, np.uint8)
    first, again, second = (Post(grain=1).finish(grey, grey, index) for index in (0, 0, 1))
    assert np.array_equal(first, again)
    assert np.abs(np.corrcoef(first[..., 0].ravel(), second[..., 0].ravel())[0, 1]) < 0.05
    assert abs(first.mean() - 128) < 1
    assert abs(first.std() - 24) < 1
    assert np.array_equal(first[..., 0], first[..., 2])  # grey grain
    assert len({grain_phase(index) for index in range(65_536)}) == 65_536


def test_noise_is_white():
    spectrum = np.abs(np.fft.fft2(texture())) ** 2 / texture().size
    assert abs(texture().mean()) < 0.02
    assert spectrum[1:, 1:].max() < 20  # exponential with mean 1: the largest of 65,025 is about 11


def test_what_a_bundle_does_itself_is_not_done_again():
    asked = Post(match_palette=1, sharpen=0.5, grain=0.2)
    inside, left = asked.within({"match_palette": 0, "sharpen": 0})
    assert inside == {"match_palette": 1, "sharpen": 0.5}
    assert left == Post(grain=0.2)
    # sharpen comes before grain: a bundle that has only grain leaves both
    assert asked.within({"match_palette": 0, "grain": 0}) == (
        {"match_palette": 1},
        Post(sharpen=0.5, grain=0.2),
    )


def test_amounts_are_shares():
    with pytest.raises(UsageError, match="from 0 to 1"):
        Post(sharpen=1.5)


def test_the_command_finishes_what_it_paints(tmp_path, capsys):
    source = tmp_path / "photo.png"
    Pictures.fromarray(picture(2, 120, 160)).save(source)
    plain, finished = tmp_path / "plain.png", tmp_path / "finished.png"
    assert main(["run", str(source), "--style", "starry", "--out", str(plain)]) == 0
    stages = ["--match-palette", "1", "--sharpen", "0.5"]
    assert main(["run", str(source), "--style", "starry", "--out", str(finished), *stages]) == 0
    painted = np.asarray(Pictures.open(plain))
    wanted = Post(match_palette=1, sharpen=0.5).finish(picture(2, 120, 160), painted, 0)
    assert np.array_equal(np.asarray(Pictures.open(finished)), wanted)
    assert (
        main(["run", str(source), "--style", "starry", "--out", str(plain), "--overwrite", "--grain", "2"])
        == 2
    )
    assert "from 0 to 1" in capsys.readouterr().err


def test_a_video_gets_another_grain_in_every_frame(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    media.write_video(tmp_path / "clip.mkv", size=(96, 64), times=4)
    arguments = [
        "run",
        "clip.mkv",
        "--style",
        "starry",
        "--out",
        "out.mkv",
        "--strength",
        "0",
        "--grain",
        "1",
    ]
    assert main(arguments) == 0
    with VideoSource("clip.mkv") as source, VideoSource("out.mkv") as found:
        noise = [
            (one.image.astype(float) - other.image).ravel() for one, other in zip(source, found, strict=True)
        ]
    assert min(each.std() for each in noise) > 10
    assert abs(np.corrcoef(noise[0], noise[1])[0, 1]) < 0.2
