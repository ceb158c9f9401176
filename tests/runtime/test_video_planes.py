"""Video files as YUV planes from end to end: nothing is converted, nothing is shifted, every tag is carried."""

from fractions import Fraction
from pathlib import Path

import av
import bundles
import numpy as np
import pytest
from media import picture, write_video

from allaprima.bundle import Bundle
from allaprima.errors import InputError
from allaprima.frame import Frame
from allaprima.planes import Coding
from allaprima.sinks import VideoSink
from allaprima.sinks.encoders import Encoding
from allaprima.sources import VideoSource
from allaprima.sources import video as video_source
from allaprima.stream import play
from allaprima.stylizer import Stylizer


def first(path: Path, *, planes: bool = True, **how: object) -> Frame:
    with VideoSource(path, planes=planes, **how) as source:  # type: ignore[arg-type]
        frame = next(iter(source))
        assert source.coding == (frame.planes.coding if frame.planes else None)
    return frame


@pytest.mark.parametrize("colour", [(1, 1), (1, 2), (5, 1), (6, 2), (9, 1)], ids=str)
def test_nothing_is_converted_between_two_files(tmp_path, out, monkeypatch, colour) -> None:
    path = write_video(tmp_path / "a.mp4", colour=colour, audio=("aac",))
    bundle = Bundle.open(bundles.make_bundle(tmp_path / "negative.prima", promise=bundles.with_planes()))

    def never(*given: object) -> None:
        raise AssertionError("a conversion of colours")

    with VideoSource(path, planes=True) as source, VideoSink(out / "b.mp4", like=source) as sink:
        for module in (video_source, __import__("allaprima.sinks.video", fromlist=["video"])):
            monkeypatch.setattr(module, "convert", never)
        monkeypatch.setattr(video_source, "rgb_of", never)
        with Stylizer.open(bundle, backend="ort", size=(64, 48), coding=source.coding) as stylizer:
            played = play(source, stylizer, sink)
            assert stylizer.report.edges == "planes"
    monkeypatch.undo()
    assert played.frames == 12
    with av.open(str(out / "b.mp4")) as made:
        context = made.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == colour
        assert len(made.streams.audio) == 1
    painted, before = first(out / "b.mp4").planes, first(path).planes
    assert painted
    assert before
    assert painted.coding == Coding(colour[0], colour[1] == 2)
    expected = bundles.negative_planes(before)
    for one, other in ((painted.y, expected.y), (painted.u, expected.u), (painted.v, expected.v)):
        assert abs(one.astype(float).mean() - other.mean()) < 0.5
        assert np.abs(one.astype(int) - other).mean() < 2  # x264's own noise


@pytest.mark.parametrize(
    ("pix_fmt", "options"), [("yuv420p10le", {}), ("yuv422p", {}), ("yuv444p", {})], ids=str
)
def test_other_layouts_become_planes_without_a_cast(tmp_path, pix_fmt, options) -> None:
    path = write_video(tmp_path / "a.mp4", pix_fmt=pix_fmt, options={"crf": "4"}, size=(128, 96))
    as_planes, as_rgb = first(path), first(path, planes=False)
    assert as_planes.planes is not None
    assert as_rgb.planes is None
    difference = as_planes.image.astype(float) - as_rgb.image
    assert np.abs(difference.mean((0, 1))).max() < 0.5


def test_what_has_no_luma_of_its_own_comes_as_rgb(tmp_path) -> None:
    path = write_video(tmp_path / "a.mkv", codec="ffv1", pix_fmt="bgr0", options={})
    assert first(path).planes is None
    grey = write_video(tmp_path / "b.mkv", codec="ffv1", pix_fmt="gray", options={})
    assert first(grey).planes is None


def test_a_box_shrinks_planes_as_it_does_pictures(tmp_path) -> None:
    path = write_video(tmp_path / "a.mp4", size=(256, 128))
    small, image = first(path, size=(64, 64)), first(path, size=(64, 64), planes=False).image
    assert small.planes is not None
    assert (small.width, small.height) == (64, 32) == (image.shape[1], image.shape[0])
    assert np.abs((small.image.astype(float) - image).mean((0, 1))).max() < 0.5


@pytest.mark.parametrize(
    "name", ["rot_90.mov", "rot_180.mov", "rot_270.mov", "phone_720p_rot180_vfr_aac.mp4"]
)
def test_a_telephones_turn_is_applied_to_planes(shared_data, name) -> None:
    path = shared_data / "video" / "edge" / name
    as_planes, as_rgb = first(path), first(path, planes=False)
    assert as_planes.planes is not None
    difference = as_planes.image.astype(float) - as_rgb.image
    assert np.abs(difference.mean((0, 1))).max() < 0.5
    assert np.abs(difference).mean() < 2


@pytest.mark.parametrize("size", [(63, 47), (64, 47), (63, 48)], ids=str)
def test_odd_sides_are_repeated_once(out, size) -> None:
    from allaprima.planes import Planes

    made = Planes.from_rgb(picture(*size), Coding(6))
    with VideoSink(out / "a.mp4", rate=Fraction(10), encoding=Encoding(quality="best")) as sink:
        for index in range(3):
            sink.put(Frame(made, index, index / 10))
    read = first(out / "a.mp4").planes
    assert read
    assert (read.width, read.height) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert np.abs(read.y[: size[1], : size[0]].astype(int) - made.y).mean() < 2
    assert np.abs(read.y[-1].astype(int) - read.y[-1 - size[1] % 2]).mean() < 3


def test_frames_of_another_coding_or_form_are_converted_to_the_first(out) -> None:
    from allaprima.planes import Planes

    image = picture(64, 48)
    with VideoSink(out / "a.mp4", rate=Fraction(10), encoding=Encoding(quality="best")) as sink:
        sink.put(Frame(Planes.from_rgb(image, Coding(6)), 0, 0.0))
        sink.put(Frame(Planes.from_rgb(image, Coding(1, True)), 1, 0.1))
        sink.put(Frame(image, 2, 0.2))
    with VideoSource(out / "a.mp4") as source:
        for frame in source:
            assert np.abs((frame.image.astype(float) - image).mean((0, 1))).max() < 1.5


def test_a_preview_is_the_beginning_with_its_sound(tmp_path, out) -> None:
    path = write_video(tmp_path / "a.mp4", times=50, audio=("aac",), audio_seconds=2.0)
    with VideoSource(path, planes=True) as source:
        source.until = 0.4
        assert source.duration == pytest.approx(0.4)
        with VideoSink(out / "b.mp4", like=source) as sink:
            play(source, lambda frame: frame, sink)
    with av.open(str(out / "b.mp4")) as made:
        assert len(list(made.decode(made.streams.video[0]))) == 10
    with av.open(str(out / "b.mp4")) as made:
        last = max(
            float(packet.pts * packet.time_base) for packet in made.demux(audio=0) if packet.pts is not None
        )
    assert 0.3 < last < 0.5


@pytest.mark.parametrize("name", ["hdr10_av1_720x1280_aac.mp4", "hlg10_hevc_1080p_rot-90_aac.mp4"])
def test_high_dynamic_range_is_refused_where_that_is_asked(shared_data, name) -> None:
    with pytest.raises(InputError, match="HDR10|HLG") as caught:
        VideoSource(shared_data / "video" / "edge" / name, hdr="fail")
    assert caught.value.code == "E_INPUT_HDR"


def test_high_dynamic_range_is_tone_mapped(shared_data) -> None:
    """Clipping makes large white areas of highlights, and bytes as stored are a grey fog: neither is here."""
    path = shared_data / "video" / "edge" / "hdr10_av1_720x1280_aac.mp4"
    with VideoSource(path, planes=True, size=(320, 320)) as source:
        frame = next(iter(source))
        assert any("tone-mapped" in note for note in source.notes)
        assert (source.colour.matrix, source.colour.full_range, source.colour.hdr) == (1, False, None)
    assert frame.planes is not None
    image = frame.image
    assert (image.min(axis=2) >= 253).mean() < 0.02
    bright, dark = np.percentile(image @ [0.2126, 0.7152, 0.0722], [99, 1])
    assert bright > 170
    assert dark < 60
