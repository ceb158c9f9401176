"""Codecs: what each container holds, encoders that are tried before a run, and what is told of those that fail."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
from media import write_video

from allaprima.errors import OutputError, RunError
from allaprima.sinks import VideoSink, encoders
from allaprima.sinks.encoders import CODECS, QUALITIES, Encoding, choose
from allaprima.sources import VideoSource
from allaprima.stream import play

SIZE, RATE = (128, 96), Fraction(30_000, 1001)


def repainted(path: Path, target: Path, encoding: Encoding) -> list[str]:
    """Notes of a run that changes nothing."""
    with VideoSource(path, planes=True) as source, VideoSink(target, like=source, encoding=encoding) as sink:
        play(source, lambda frame: frame, sink)
    return sink.notes


@pytest.mark.parametrize(
    ("codec", "suffix", "name", "tag"),
    [
        ("h264", ".mp4", "h264", "avc1"),
        ("hevc", ".mp4", "hevc", "hvc1"),
        ("av1", ".mkv", "av1", None),
        ("prores", ".mov", "prores", "apcn"),
        ("vp9", ".webm", "vp9", None),
        (None, ".webm", "vp9", None),
        (None, ".mov", "h264", "avc1"),
    ],
)
def test_every_codec_keeps_frames_times_sound_and_colours(tmp_path, out, codec, suffix, name, tag) -> None:
    sound = "libopus" if suffix == ".webm" else "aac"
    path = write_video(tmp_path / "a.mkv", times=[0, 1, 3, 7, 8], size=SIZE, audio=(sound,), colour=(1, 1))
    repainted(path, out / f"b{suffix}", Encoding(codec))
    with av.open(str(out / f"b{suffix}")) as made:
        stream = made.streams.video[0]
        times = [float(frame.time or 0) for frame in made.decode(stream)]
        context = stream.codec_context
        assert {"libdav1d": "av1"}.get(context.name, context.name) == name
        assert tag is None or context.codec_tag == tag
        assert (context.colorspace, context.color_range) == (1, 1)
        assert len(made.streams.audio) == 1
    assert times == pytest.approx([0, 0.04, 0.12, 0.28, 0.32], abs=2e-3)


def test_better_is_larger(tmp_path, out) -> None:
    path = write_video(tmp_path / "a.mp4", size=(256, 192), times=24)
    sizes = []
    for quality in QUALITIES:
        repainted(path, out / f"{quality}.mp4", Encoding(quality=quality))
        sizes.append((out / f"{quality}.mp4").stat().st_size)
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_settings_of_the_source_are_copied(tmp_path, out) -> None:
    path = write_video(
        tmp_path / "a.mp4", codec="libx265", options={"x265-params": "log-level=error"}, times=30
    )
    repainted(path, out / "b.mp4", Encoding(encoders.COPY))
    with VideoSource(out / "b.mp4") as made, VideoSource(path) as source:
        assert made.codec == source.codec == "hevc"
        assert source.bit_rate > 0
        assert made.bit_rate < 4 * source.bit_rate + 50_000  # a second of film holds hardly any rate
    with pytest.raises(OutputError, match="no video file to copy them from"):
        VideoSink(out / "c.mp4", encoding=Encoding(encoders.COPY))


def test_what_a_container_does_not_hold_is_refused_before_anything_is_written(out) -> None:
    with pytest.raises(OutputError, match="choose another extension, or --codec av1 or vp9") as caught:
        VideoSink(out / "a.webm", encoding=Encoding("h264"))
    assert caught.value.code == "E_OUTPUT_FORMAT"
    assert list(out.iterdir()) == []


def test_hardware_that_does_not_work_is_passed_over_and_told(tmp_path, out, monkeypatch) -> None:
    rows = CODECS["h264"].encoders
    absent = replace(rows[0], name="h264_absent", hardware=True)
    broken = replace(rows[0], options={"preset": "no-such-preset"}, hardware=True)
    monkeypatch.setitem(encoders.CODECS, "h264", replace(CODECS["h264"], encoders=(rows[0], absent, broken)))
    path = write_video(tmp_path / "a.mp4")
    notes = repainted(path, out / "b.mp4", Encoding(hardware=True))
    (note,) = [note for note in notes if "passed over" in note]
    assert "h264_absent (not in this build of FFmpeg)" in note
    assert note.startswith("libx264 encodes")
    assert repainted(path, out / "c.mp4", Encoding()) == []


def test_hardware_that_works_is_taken(monkeypatch) -> None:
    rows = CODECS["h264"].encoders
    working = replace(rows[0], hardware=True)
    monkeypatch.setitem(encoders.CODECS, "h264", replace(CODECS["h264"], encoders=(rows[1], working)))
    chosen = choose(Encoding("h264", hardware=True), "mp4", SIZE, RATE)
    assert (chosen.encoder, chosen.passed_over) == ("libx264", {})


def test_where_nothing_works_every_reason_is_told(monkeypatch) -> None:
    rows = CODECS["h264"].encoders
    lame = tuple(replace(rows[0], name=name) for name in ("h264_one", "h264_two"))
    monkeypatch.setitem(encoders.CODECS, "h264", replace(CODECS["h264"], encoders=lame))
    with pytest.raises(RunError, match="h264_one: not in this build of FFmpeg; h264_two:") as caught:
        choose(Encoding("h264"), "mp4", SIZE, RATE)
    assert caught.value.code == "E_ENCODER_MISSING"


def test_the_commands_words_are_the_tables() -> None:
    from allaprima.cli.encoding import CODEC_WORDS, QUALITY_WORDS

    assert (*CODECS, encoders.COPY) == CODEC_WORDS
    assert QUALITY_WORDS == QUALITIES
