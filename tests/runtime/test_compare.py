"""`allaprima compare`: what is measured, what the page holds, and what cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from bundles import make_bundle, painted, ramp
from media import picture as drawn
from pages import Tags, loads_nothing, opened, picture
from PIL import Image as Pictures

from allaprima import compare
from allaprima.cli import main
from allaprima.compare import Shots, Side, figures, painted_before, read
from allaprima.errors import InputError


@pytest.fixture
def page(out: Path) -> Callable[..., Tags]:
    """`page("a", "b", "--on", ...)`: the page that the command writes."""

    def write(*words: object) -> Tags:
        target = out / "page.html"
        command = ["compare", *map(str, words), "--out", str(target), "--overwrite", "--threads", "1"]
        assert main(command) == 0
        assert [path.name for path in out.iterdir()] == ["page.html"]
        return Tags(target.read_text(encoding="utf-8"))

    return write


def saved(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pictures.fromarray(image).save(path)
    return path


def test_a_video_gets_sliders_a_moving_strip_and_figures(
    page: Callable[..., Tags], make_video: Callable[..., Path], tmp_path: Path
) -> None:
    clip = make_video("clip.mp4", times=12)
    bundle = make_bundle(tmp_path / "one.prima")
    found = page(bundle, clip, "--on", clip, "--frames", 6, "--start", 0.1)
    loads_nothing(found)
    *shown, loop = [str(image["src"]) for image in found.of("img")]
    assert len(shown) == 3 * compare.SHOWN  # original, A, B
    assert len(found.of("input")) == 2 * compare.SHOWN
    assert [caption for caption in ("frame 3", "frame 8") if caption in found.text] == ["frame 3", "frame 8"]
    first, styled, same = (picture(one).astype(int) for one in shown[:3])
    assert np.abs(first - same).mean() < 1
    assert np.abs(styled - painted(first.astype(np.uint8))).mean() < 6  # WebP's losses, twice
    strip = opened(loop)
    assert (strip.n_frames, strip.size) == (6, (3 * 64, 48))  # what is small stays as it is
    for label in ("milliseconds for a frame", "jitter of a still scene", "warping error", "SSIM with"):
        assert label in found.text


def test_the_original_against_itself_is_perfect_and_its_steadiness_is_the_sources() -> None:
    images = [drawn(64, 48, number) for number in range(4)]
    shots = Shots("clip", images, [f"frame {n}" for n in range(4)], 25.0)
    same = figures(shots, Side("A", images, "before"))
    assert (same["SSIM with the original"], same["its structure factor"]) == (
        pytest.approx(1),
        pytest.approx(1),
    )
    assert same["change from frame to frame, over the original's"] == pytest.approx(1)
    assert same["milliseconds for a frame, median"] is None
    negative = figures(shots, Side("B", [255 - image for image in images], "before"))
    assert negative["its structure factor"] < 0.5


def test_a_control_is_given_to_the_side_that_has_it(
    page: Callable[..., Tags], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = saved(tmp_path / "photo.png", drawn(40, 60, 0))
    found = page("masters", "wave", "--on", photo, "--control", "domain=wave")
    assert len(found.of("img")) >= 3
    capsys.readouterr()
    words = ["compare", "starry", "wave", "--on", str(photo), "--control", "domain=wave"]
    assert main([*words, "--out", str(tmp_path / "other.html")]) == 2  # neither has it
    assert "the style has no control 'domain'" in capsys.readouterr().err


def test_a_folder_is_compared_picture_by_picture_and_what_is_quoted_is_escaped(
    page: Callable[..., Tags], tmp_path: Path
) -> None:
    photos, paintings = tmp_path / "<script>", tmp_path / "painted & dry"
    for name in ("a.png", "deep/b.tif"):
        saved(photos / name, ramp(40, 50))
    (photos / "c.txt").write_text("no picture")
    saved(paintings / "a.png", 255 - ramp(40, 50))
    saved(paintings / "deep" / "b.tif.png", ramp(40, 50))  # as `run` names it
    found = page(paintings, photos, "--on", photos)
    assert len(found.of("script")) == 1  # our own
    assert "A: painted & dry and B: <script> on <script>" in found.text
    assert "skipped c.txt: not a picture" in found.text
    assert len(found.of("img")) == 6
    assert "In motion" not in found.text


def test_what_is_painted_larger_lies_on_the_original_with_its_pixels_repeated(
    page: Callable[..., Tags], tmp_path: Path
) -> None:
    photo = saved(tmp_path / "photo.png", ramp(30, 40))
    other = saved(tmp_path / "other.png", ramp(30, 40).repeat(3, 0).repeat(3, 1))
    shots = read(photo)
    assert painted_before("B", other, shots).paintings[0].shape == (90, 120, 3)
    found = page(photo, other, "--on", photo)
    assert {picture(str(image["src"])).shape for image in found.of("img")} == {(90, 120, 3)}


@pytest.mark.parametrize(
    ("painting", "why"),
    [
        ((30, 41), "it is 41x30 where"),
        ((60, 40), "it is 40x60 where"),
        (None, "there is no painting of photo.png"),
    ],
)
def test_what_is_no_painting_of_it_is_refused_and_nothing_is_written(
    painting: tuple[int, int] | None, why: str, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = saved(tmp_path / "photo.png", ramp(30, 40))
    given = tmp_path / "painted"
    given.mkdir()
    if painting:
        saved(given / "photo.jpg", ramp(*painting))
    status = main(["compare", str(given), str(photo), "--on", str(photo), "--out", str(out / "p.html")])
    assert status == 3
    said = capsys.readouterr().err
    assert "E_COMPARE_OTHER" in said
    assert why in said
    assert list(out.iterdir()) == []


def test_two_sizes_without_a_common_multiple_are_refused(tmp_path: Path) -> None:
    images = [ramp(20, 20)]
    shots = Shots("photo", images, ["photo"], None)
    twice, thrice = (Side(f"x{n}", [ramp(20 * n, 20 * n)], "before") for n in (2, 3))
    assert figures(shots, thrice)
    with pytest.raises(InputError, match="no multiple"):
        compare.apart(twice, thrice)


def test_a_painted_video_that_ends_too_early_is_named(make_video: Callable[..., Path]) -> None:
    shots = read(make_video("long.mp4", times=12), frames=4, start=0.3)
    with pytest.raises(InputError, match="it has no frame 9"):
        painted_before("A", make_video("short.mp4", times=9), shots)
    assert read(make_video("brief.mp4", times=3), frames=8).labels == ["frame 0", "frame 1", "frame 2"]


def test_a_video_that_is_too_short_for_the_wish_says_which_frames_it_took(
    make_video: Callable[..., Path],
) -> None:
    clip = make_video("short.mp4", times=12)
    (note,) = read(clip, frames=4, start=30).notes
    assert "less than 4 frames from second 30 on: these are its last 4, from second 0.3 on" in note
    assert read(clip, frames=4, start=0.1).notes == []


def test_a_page_that_exists_stays_and_an_odd_wish_is_told(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = saved(tmp_path / "photo.png", ramp(30, 40))
    target = out / "p.html"
    target.write_text("mine")
    words = ["compare", str(photo), str(photo), "--on", str(photo), "--out"]
    assert main([*words, str(target)]) == 4
    assert target.read_text() == "mine"
    assert main([*words, str(photo), "--overwrite"]) == 2  # no page
    assert main([*words, str(target), "--overwrite", "--frames", "0"]) == 2
    assert main([*words, str(target), "--overwrite", "--size", "8x8"]) == 2
    assert main(["compare", "stary", str(photo), "--on", str(photo), "--out", str(out / "q.html")]) == 2
    assert "E_STYLE_UNKNOWN" in capsys.readouterr().err
    saved(photo, ramp(12, 40))
    assert main([*words, str(target), "--overwrite"]) == 3
    assert "too small to compare" in capsys.readouterr().err


def test_without_the_extra_the_page_says_what_was_not_measured(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = EntryPoint("content", "torch_that_is_not_here:content", "allaprima.figures")
    monkeypatch.setattr(compare, "entry_points", lambda group: [missing])
    photo = saved(tmp_path / "photo.png", ramp(30, 40))
    command = ["compare", str(photo), str(photo), "--on", str(photo), "--out", str(out / "p.html"), "--json"]
    assert main(command) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["notes"] == ["content: not measured, because torch_that_is_not_here is not installed"]
    assert list(said["sides"][0]["figures"]) == ["SSIM with the original", "its structure factor"]
    assert said["between"]["PSNR in dB"] == 100
