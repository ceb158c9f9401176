"""Video in and out: every frame at its own time, in its own colours, right side up."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media import picture

from allaprima.errors import OutputError, RunError
from allaprima.frame import Frame
from allaprima.sinks import VideoSink, open_sink
from allaprima.sinks.encoders import Encoding
from allaprima.sources import VideoSource, open_source
from allaprima.stream import Played, play

MakeVideo = Callable[..., Path]


def repaint(path: Path, target: Path, **how: object) -> tuple[VideoSource, VideoSink, Played]:
    """Through the whole way with a painter that changes nothing."""
    with VideoSource(path) as source, VideoSink(target, like=source, **how) as sink:  # type: ignore[arg-type]
        played = play(source, lambda frame: frame, sink)
    return source, sink, played


def times(path: Path) -> list[Fraction]:
    """Presentation times as PyAV itself reads them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        return [Fraction(frame.pts or 0) * stream.time_base for frame in container.decode(stream)]


def end(path: Path) -> float:
    """Seconds from the first frame to the end of the last, as the container states it."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return float((stream.duration or 0) * (stream.time_base or 0))


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_variable_frame_rate_keeps_every_time(make_video: MakeVideo, out: Path, suffix: str) -> None:
    stamps = [0, 9, 18, 20, 21, 50, 51, 52, 90, 130]
    path = make_video(f"vfr{suffix}", times=stamps, time_base=Fraction(1, 90))
    _, _, played = repaint(path, out / f"out{suffix}")
    assert played.frames == len(stamps)
    assert played.dropped == 0
    before, after = times(path), times(out / f"out{suffix}")
    assert len(after) == len(before)
    assert max(abs(a - b) for a, b in zip(before, after, strict=True)) <= Fraction(1, 1000)


def test_a_fine_clock_is_kept_exactly(make_video: MakeVideo, out: Path) -> None:
    path = make_video(times=[0, 1001, 2002, 3003, 5005], time_base=Fraction(1, 30_000))
    repaint(path, out / "out.mp4")
    assert times(out / "out.mp4") == times(path) == [Fraction(n, 30_000) for n in (0, 1001, 2002, 3003, 5005)]


def test_a_late_start_stays_late(make_video: MakeVideo, out: Path) -> None:
    path = make_video("late.mkv", times=[25, 26, 27, 28])
    repaint(path, out / "out.mkv")
    assert [float(time) for time in times(out / "out.mkv")] == pytest.approx(
        [1.0, 1.04, 1.08, 1.12], abs=1e-3
    )


def test_a_broadcast_recording_starts_at_zero(make_video: MakeVideo, out: Path) -> None:
    path = make_video("tv.ts", times=list(range(250, 260)), audio=("mp2",), audio_delay=10.1, format="mpegts")
    with VideoSource(path) as source:
        assert source.origin > 1
        first = next(iter(source))
    assert 0 <= first.time < 0.2
    repaint(path, out / "out.mp4")
    with av.open(str(path)) as before, av.open(str(out / "out.mp4")) as after:
        gaps = []
        for container in (before, after):
            starts = [float((s.start_time or 0) * (s.time_base or 0)) for s in container.streams]
            gaps.append(starts[0] - starts[1])
    assert gaps[0] == pytest.approx(gaps[1], abs=0.03)


def test_the_last_frame_is_shown_as_long_as_in_the_source(make_video: MakeVideo, out: Path) -> None:
    path = make_video(times=[0, 100, 200, 900], time_base=Fraction(1, 1000))
    repaint(path, out / "out.mp4")
    assert end(out / "out.mp4") == pytest.approx(end(path), abs=1e-3)


@pytest.mark.parametrize(
    ("matrix", "full_range"), [(1, False), (1, True), (6, False), (6, True), (9, False)], ids=str
)
def test_colours_come_and_go_without_a_shift(
    make_video: MakeVideo, out: Path, matrix: int, full_range: bool
) -> None:
    path = make_video(size=(128, 96), times=4, colour=(matrix, 2 if full_range else 1))
    with VideoSource(path) as source:
        assert (source.colour.matrix, source.colour.full_range) == (matrix, full_range)
        read = next(iter(source)).image
    assert_no_shift(read, picture(128, 96, 0))
    repaint(path, out / "out.mp4", encoding=Encoding(quality="best"))
    with VideoSource(out / "out.mp4") as source:
        assert (source.colour.matrix, source.colour.full_range) == (matrix, False)
        written = next(iter(source)).image
    assert_no_shift(written, read)


def assert_no_shift(image: np.ndarray, truth: np.ndarray) -> None:
    difference = image.astype(int) - truth
    assert np.abs(difference.mean((0, 1))).max() < 0.8  # of 255: no cast
    assert np.abs(difference).mean() < 2.5  # the codec's own noise


def test_untagged_video_is_601_when_small_and_709_when_large(make_video: MakeVideo) -> None:
    for name, size, matrix in (
        ("s.mp4", (64, 48), 6),
        ("l.mp4", (1280, 720), 1),
        ("portrait.mp4", (720, 1280), 1),
    ):
        with VideoSource(make_video(name, size=size, times=1)) as source:
            assert source.colour.matrix == matrix, name


def set_display_matrix(path: Path, matrix: tuple[int, ...]) -> None:
    """Write a rotation into an MP4's track header, as a telephone does."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (value * 65_536 for value in matrix)
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((1, 0, 0, 1), lambda image: image),
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),  # held upright: a quarter turn clockwise
        ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
        ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),  # the mirror of a front camera
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
    ],
    ids=["0", "90", "180", "270", "mirrored", "flipped", "transposed"],
)
def test_rotation_is_applied_once(
    make_video: MakeVideo, out: Path, matrix: tuple[int, ...], upright: Callable[[np.ndarray], np.ndarray]
) -> None:
    path = make_video(size=(96, 64), times=3)
    set_display_matrix(path, matrix)
    truth = upright(picture(96, 64, 0))
    with VideoSource(path) as source:
        assert (source.height, source.width) == truth.shape[:2]
        image = next(iter(source)).image
    assert np.abs(image.astype(int) - truth).mean() < 4
    repaint(path, out / "out.mp4")
    with av.open(str(out / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        assert frame.rotation == 0
        assert frame.side_data.get("DISPLAYMATRIX") is None
        assert (frame.height, frame.width) == truth.shape[:2]
    with VideoSource(out / "out.mp4") as again:
        assert np.abs(next(iter(again)).image.astype(int) - truth).mean() < 5


@pytest.mark.parametrize(("width", "height"), [(65, 63), (64, 49), (1, 1), (7, 90)])
def test_odd_sizes_gain_an_edge_and_say_so(make_video: MakeVideo, out: Path, width: int, height: int) -> None:
    path = make_video("odd.mkv", size=(width, height), times=3, codec="ffv1", pix_fmt="bgr0", options={})
    _, sink, _ = repaint(path, out / "out.mp4")
    assert any(f"{width}x{height}" in note for note in sink.notes)
    with VideoSource(out / "out.mp4") as source:
        image = next(iter(source)).image
    assert image.shape == (height + height % 2, width + width % 2, 3)
    np.testing.assert_allclose(
        image[:height, :width].mean((0, 1)), picture(width, height, 0).mean((0, 1)), atol=10
    )


def test_ten_bits_are_painted_with_eight_and_told(make_video: MakeVideo) -> None:
    path = make_video(size=(128, 96), times=2, pix_fmt="yuv420p10le")
    with VideoSource(path) as source:
        assert_no_shift(next(iter(source)).image, picture(128, 96, 0))
    assert any("8 bits" in note for note in source.notes)


def test_size_is_a_box_around_the_upright_picture(make_video: MakeVideo) -> None:
    path = make_video(size=(160, 96), times=2)
    set_display_matrix(path, (0, 1, -1, 0))
    with VideoSource(path, size=(80, 80)) as source:
        assert (source.width, source.height) == (48, 80)
        assert next(iter(source)).image.shape == (80, 48, 3)


def test_pixels_that_are_not_square_stay_so(make_video: MakeVideo, out: Path) -> None:
    path = make_video(size=(90, 72), times=2)
    squeezed = path.with_name("squeezed.mp4")
    with av.open(str(path)) as source, av.open(str(squeezed), "w") as target:
        stream = target.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 90, 72, "yuv420p"  # type: ignore[union-attr]
        stream.codec_context.sample_aspect_ratio = Fraction(16, 15)  # type: ignore[union-attr]
        for frame in source.decode(video=0):
            target.mux(stream.encode(frame))  # type: ignore[union-attr, arg-type]
        target.mux(stream.encode(None))  # type: ignore[union-attr]
    repaint(squeezed, out / "out.mp4")
    with av.open(str(out / "out.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 15)


def test_a_frame_of_another_size_is_fitted_into_the_first(out: Path) -> None:
    with VideoSink(out / "a.mp4", rate=Fraction(10)) as sink:
        for index, size in enumerate([(64, 48), (64, 48), (48, 64), (32, 24)]):
            sink.put(Frame(picture(*size), index, index / 10))
    assert any("2 frames had another size" in note for note in sink.notes)
    with VideoSource(out / "a.mp4") as source:
        frames = [frame.image for frame in source]
    assert [image.shape for image in frames] == [(48, 64, 3)] * 4
    assert frames[2][:, :8].mean() < 12  # black bars beside the portrait
    assert (
        np.abs(frames[3].astype(int) - frames[0]).mean() < 12
    )  # the small one enlarged looks like the first


def test_frames_from_a_live_clock_start_at_zero(out: Path) -> None:
    with VideoSink(out / "a.mp4", rate=Fraction(30)) as sink:
        for index, seconds in enumerate([5000.0, 5000.031, 5000.08, 5000.081, 5000.081, 5000.12]):
            sink.put(Frame(picture(32, 32), index, seconds))
    assert [float(time) for time in times(out / "a.mp4")] == pytest.approx(
        [0.0, 0.031, 0.08, 0.081, 0.081, 0.12], abs=1e-3
    )


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".mov", ".m4v"])
def test_every_container_is_written_and_read(make_video: MakeVideo, out: Path, suffix: str) -> None:
    path = make_video(times=6)
    repaint(path, out / f"out{suffix}")
    assert [float(time) for time in times(out / f"out{suffix}")] == pytest.approx(
        [n / 25 for n in range(6)], abs=1e-3
    )


def test_a_failing_painter_leaves_no_file(make_video: MakeVideo, out: Path) -> None:
    path = make_video(times=30, audio=("aac",))

    def fails_at_ten(frame: Frame) -> Frame:
        if frame.index == 10:
            raise ValueError("no paint left")
        return frame

    with (
        pytest.raises(ValueError, match="no paint left"),
        open_source(path) as source,
        open_sink(out / "out.mp4", like=source) as sink,
    ):
        play(source, fails_at_ten, sink)
    assert list(out.iterdir()) == []


def test_ctrl_c_keeps_the_painted_part_under_another_name(make_video: MakeVideo, out: Path) -> None:
    path = make_video(times=60, audio=("aac",), audio_seconds=2.4)

    def interrupted(frame: Frame) -> Frame:
        if frame.index == 20:
            raise KeyboardInterrupt
        return frame

    with (
        pytest.raises(KeyboardInterrupt),
        open_source(path) as source,
        open_sink(out / "out.mp4", like=source) as sink,
    ):
        play(source, interrupted, sink)
    assert [item.name for item in out.iterdir()] == ["out.partial.mp4"]
    assert any("out.partial.mp4" in note for note in sink.notes)
    assert len(times(out / "out.partial.mp4")) == 20
    with av.open(str(out / "out.partial.mp4")) as container:
        sound = sum(frame.samples for frame in container.decode(audio=0)) / 48_000
    assert sound == pytest.approx(0.8, abs=0.15)


def test_a_full_disk_is_an_output_error_and_leaves_nothing(
    make_video: MakeVideo, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    path = make_video(size=(320, 240), times=40)
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with (
            pytest.raises(OutputError) as caught,
            open_source(path) as source,
            open_sink(out / "out.mp4", like=source) as sink,
        ):
            play(source, lambda frame: replace(frame, picture=np.roll(noise, frame.index * 7, 0)), sink)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == "E_OUTPUT_FULL"
    assert "out.mp4" in str(caught.value)
    assert list(out.iterdir()) == []


def test_a_missing_encoder_is_told_before_anything_is_written(out: Path) -> None:
    with pytest.raises(RunError, match="no_such_codec") as caught:
        VideoSink(out / "a.mp4", encoding=Encoding("no_such_codec"))
    assert caught.value.code == "E_ENCODER_MISSING"
    assert list(out.iterdir()) == []


def test_the_frame_is_writable_memory_of_its_own_or_stays_valid(make_video: MakeVideo) -> None:
    """Frames outlive the source: their memory is theirs, not the decoder's next frame's."""
    path = make_video(size=(64, 48), times=20)
    with VideoSource(path) as source:
        kept = [(frame.image, frame.image.copy()) for frame in source]
    for image, copy in kept:
        np.testing.assert_array_equal(image, copy)
