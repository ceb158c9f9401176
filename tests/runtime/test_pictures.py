"""Pictures: decoded strictly, upright, in RGB, alpha beside; written as what their name says."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from media import picture
from PIL import Image, ImageCms

from allaprima.errors import InputError, OutputError
from allaprima.frame import Frame
from allaprima.sinks import open_sink
from allaprima.sources import PictureSource, open_source, pictures_in


def read(path: Path) -> Frame:
    with PictureSource(path) as source:
        frames = list(source)
    assert len(frames) == 1
    assert frames[0].image.dtype == np.uint8
    assert frames[0].image.shape == (source.height, source.width, 3)
    return frames[0]


def test_rgb_comes_back_exactly(tmp_path: Path) -> None:
    image = picture(33, 17)
    Image.fromarray(image).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read(tmp_path / "a.png").image, image)


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "CMYK", "I;16", "PA"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    white_half = Image.new("L", (40, 20), 0)
    white_half.paste(255, (20, 0, 40, 20))
    if mode == "I;16":
        Image.fromarray(np.asarray(white_half).astype(np.uint16) * 257).save(tmp_path / "a.png")
    else:
        white_half.convert("RGBA" if mode == "PA" else mode).convert(mode).save(tmp_path / "a.tif")
    path = next(tmp_path.iterdir())
    image = read(path).image
    np.testing.assert_array_equal(image[:, :20], 0)
    np.testing.assert_array_equal(image[:, 20:], 255)


def test_sixteen_bits_are_rounded_and_told(tmp_path: Path) -> None:
    values = np.arange(0, 65_536, 256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    with PictureSource(tmp_path / "deep.png") as source:
        image = next(iter(source)).image
    np.testing.assert_array_equal(image[..., 0], np.round(values / 257).astype(np.uint8))
    assert any("16 bits" in note for note in source.notes)


def test_alpha_travels_beside_and_is_put_back(tmp_path: Path, out: Path) -> None:
    image = np.dstack([picture(30, 20), np.arange(600, dtype=np.uint16).reshape(20, 30).astype(np.uint8)])
    Image.fromarray(image).save(tmp_path / "a.png")
    frame = read(tmp_path / "a.png")
    np.testing.assert_array_equal(frame.alpha, image[..., 3])
    for name in ("b.png", "b.tif"):
        with open_sink(out / name) as sink:
            sink.put(frame)
        np.testing.assert_array_equal(np.asarray(Image.open(out / name)), image)
    with open_sink(out / "b.jpg") as sink:
        sink.put(frame)
    assert Image.open(out / "b.jpg").mode == "RGB"
    assert any("transparency" in note for note in sink.notes)


def test_a_transparent_palette_colour_is_alpha(tmp_path: Path) -> None:
    small = Image.new("P", (8, 8), 1)
    small.putpalette([0, 0, 0, 255, 0, 0])
    small.paste(0, (0, 0, 4, 8))
    small.save(tmp_path / "a.png", transparency=0)
    frame = read(tmp_path / "a.png")
    assert frame.alpha is not None
    assert set(frame.alpha[:, :4].flat) == {0}
    assert set(frame.alpha[:, 4:].flat) == {255}
    assert tuple(frame.image[0, 7]) == (255, 0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once_and_not_written(
    tmp_path: Path, out: Path, orientation: int
) -> None:
    upright = picture(40, 24)
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[
        orientation
    ]  # Image.Transpose that a camera's turn is
    stored = Image.fromarray(upright)
    if undo is not None:
        stored = stored.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    frame = read(tmp_path / "a.png")
    np.testing.assert_array_equal(frame.image, upright)
    with open_sink(out / "b.png") as sink:
        sink.put(frame)
    assert Image.open(out / "b.png").getexif().get(0x0112, 1) == 1


def test_an_embedded_profile_is_converted_and_told(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = picture(16, 16)
    Image.fromarray(image).save(tmp_path / "srgb.png", icc_profile=lab)
    np.testing.assert_array_equal(read(tmp_path / "srgb.png").image, image)
    Image.fromarray(image).save(tmp_path / "bad.png", icc_profile=b"not a profile")
    with PictureSource(tmp_path / "bad.png") as source:
        np.testing.assert_array_equal(next(iter(source)).image, image)
    assert any("profile" in note for note in source.notes)


def test_cmyk_without_profile_is_told(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    with PictureSource(tmp_path / "a.jpg") as source:
        red, green, blue = next(iter(source)).image[8, 8]
    assert red > 240
    assert green < 15
    assert blue < 15
    assert any("CMYK" in note for note in source.notes)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_picture_cut_in_half_is_refused(tmp_path: Path, format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, format)
    path = tmp_path / "half.bin"
    path.write_bytes(content.getvalue()[: len(content.getvalue()) // 2])
    with pytest.raises(InputError, match=r"half\.bin"):
        open_source(path)


def test_a_small_file_that_declares_a_huge_picture_is_refused_by_its_header(tmp_path: Path) -> None:
    for side in (30_000, 11_000):
        Image.new("1", (side, side)).save(tmp_path / "bomb.png")
        with pytest.raises(InputError, match="million pixels") as caught:
            open_source(tmp_path / "bomb.png")
        assert caught.value.code == "E_INPUT_TOO_LARGE"


def test_an_animated_gif_is_a_video_and_an_animated_webp_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.fromarray(picture(40, 30, number * 5)) for number in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], duration=100, lossless=True)
    frames[0].save(tmp_path / "still.gif")
    with open_source(tmp_path / "a.gif") as source:
        assert [round(frame.time, 3) for frame in source] == [0.0, 0.1, 0.2]
    with open_source(tmp_path / "a.webp") as source:
        assert source.frames == 1
        np.testing.assert_array_equal(next(iter(source)).image, picture(40, 30, 0))
    assert any("first" in note for note in source.notes)
    with open_source(tmp_path / "still.gif") as source:
        assert source.frames == 1


def test_size_is_a_box_that_pictures_are_shrunk_into(tmp_path: Path) -> None:
    Image.fromarray(picture(400, 200)).save(tmp_path / "a.png")
    with open_source(tmp_path / "a.png", size=(100, 100)) as source:
        assert (source.width, source.height) == (100, 50)
        assert next(iter(source)).image.shape == (50, 100, 3)
    with open_source(tmp_path / "a.png", size=(1000, 1000)) as source:
        assert (source.width, source.height) == (400, 200)


def test_a_folder_is_sorted_out_by_bytes(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    Image.fromarray(picture(8, 8)).save(tmp_path / "b.jpg")
    Image.fromarray(picture(8, 8)).save(tmp_path / "sub" / "a.png")
    (tmp_path / "photo.txt").write_bytes((tmp_path / "b.jpg").read_bytes())
    (tmp_path / "._b.jpg").write_bytes(b"\0\5\26\7 from a Mac")
    (tmp_path / "notes.png").write_text("not a picture at all")
    (tmp_path / "zero.png").touch()
    (tmp_path / "x.jpg").mkdir()
    found = pictures_in(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in found.pictures] == ["b.jpg", "photo.txt", "sub/a.png"]
    reasons = {path.name: reason for path, reason in found.skipped.items()}
    assert reasons == {
        "._b.jpg": "a companion file of macOS",
        "notes.png": "not a picture",
        "zero.png": "empty",
    }


def test_a_picture_sink_takes_one_frame_and_leaves_nothing_without_one(out: Path) -> None:
    frame = Frame(picture(8, 8))
    with pytest.raises(OutputError, match="one frame"), open_sink(out / "a.png") as sink:
        sink.put(frame)
        sink.put(frame)
    with open_sink(out / "b.png"):
        pass
    assert list(out.iterdir()) == []


def test_an_unknown_extension_lists_those_that_are_known(out: Path) -> None:
    for name in ("a.xyz", "noextension"):
        with pytest.raises(OutputError, match=r"\.png.*\.mp4"):
            open_sink(out / name)
    assert list(out.iterdir()) == []


def test_a_picture_is_not_written_as_video_nor_a_video_as_picture(tmp_path: Path, out: Path) -> None:
    Image.fromarray(picture(8, 8)).save(tmp_path / "a.png")
    with open_source(tmp_path / "a.png") as source, pytest.raises(OutputError, match=r"\.png"):
        open_sink(out / "a.mp4", like=source)
    with open_source("bars:32x32?seconds=1") as source, pytest.raises(OutputError, match=r"\.mp4"):
        open_sink(out / "a.png", like=source)
