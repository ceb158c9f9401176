"""Sound, subtitles, chapters and metadata come along, bit for bit where the container allows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import av
import pytest
from media import picture
from PIL import Image

from allaprima.errors import RunError
from allaprima.sinks import VideoSink, tracks
from allaprima.sources import VideoSource
from allaprima.stream import play

MakeVideo = Callable[..., Path]


def repaint(path: Path, target: Path, until: float | None = None) -> list[str]:
    with VideoSource(path) as source, VideoSink(target, like=source) as sink:
        source.until = until
        play(source, lambda frame: frame, sink)
    return source.notes + sink.notes


def packets(path: Path, index: int, kind: str = "audio") -> list[tuple[bytes, float]]:
    """(payload, seconds) of one stream."""
    with av.open(str(path)) as container:
        stream = container.streams.get({kind: index})[0]
        return [
            (bytes(packet), float((packet.pts or 0) * packet.time_base))
            for packet in container.demux(stream)
            if packet.size
        ]


def same_sound(before: Path, after: Path, index: int = 0) -> None:
    one, other = packets(before, index), packets(after, index)
    assert one
    assert [payload for payload, _ in one] == [payload for payload, _ in other]
    assert [time for _, time in one] == pytest.approx([time for _, time in other], abs=1e-3)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "aac"), ("a.mp4", "ac3"), ("a.mkv", "aac"), ("a.mkv", "flac"), ("a.mov", "aac")],
)
def test_sound_is_copied_bit_for_bit(make_video: MakeVideo, out: Path, name: str, codec: str) -> None:
    path = make_video(name, times=25, audio=(codec,))
    assert repaint(path, out / name) == []
    same_sound(path, out / name)


def test_five_point_one_and_several_languages_stay(make_video: MakeVideo, out: Path) -> None:
    path = make_video("a.mkv", times=25, audio=("aac", "ac3", "flac"), audio_layout="5.1")
    repaint(path, out / "a.mkv")
    with av.open(str(out / "a.mkv")) as container:
        sounds = container.streams.audio
        assert [sound.language for sound in sounds] == ["eng", "deu", "fra"]
        assert {sound.codec_context.layout.nb_channels for sound in sounds} == {6}
    for index in range(3):
        same_sound(path, out / "a.mkv", index)


def test_sound_that_starts_late_stays_late(make_video: MakeVideo, out: Path) -> None:
    path = make_video("a.mkv", times=30, audio=("flac",), audio_delay=0.5)
    repaint(path, out / "a.mkv")
    same_sound(path, out / "a.mkv")
    assert packets(out / "a.mkv", 0)[0][1] == pytest.approx(0.5, abs=0.01)


def test_sound_longer_than_the_picture_is_not_cut(make_video: MakeVideo, out: Path) -> None:
    path = make_video("a.mp4", times=10, audio=("aac",), audio_seconds=2.0)
    repaint(path, out / "a.mp4")
    same_sound(path, out / "a.mp4")


def test_a_silent_film_stays_silent(make_video: MakeVideo, out: Path) -> None:
    path = make_video("a.mp4", times=10)
    assert repaint(path, out / "a.mp4") == []
    with av.open(str(out / "a.mp4")) as container:
        assert len(container.streams) == 1


def test_sound_that_the_container_cannot_hold_is_encoded_and_told(make_video: MakeVideo, out: Path) -> None:
    path = make_video("a.mkv", times=25, audio=("aac",), audio_delay=0.2)
    notes = repaint(path, out / "a.webm")
    assert any("encoded anew" in note and ".mkv" in note for note in notes)
    with av.open(str(out / "a.webm")) as container:
        sound = container.streams.audio[0]
        assert sound.codec_context.name in ("opus", "libopus")
        assert sound.language == "eng"
        frames = list(container.decode(sound))
    seconds = sum(frame.samples for frame in frames) / 48_000
    assert seconds == pytest.approx(1.0, abs=0.1)
    assert float(frames[0].time or 0) == pytest.approx(0.2, abs=0.03)
    times = [seconds for _, seconds in packets(out / "a.webm", 0)]
    assert times[-1] == pytest.approx(1.2, abs=0.05)
    steps = {round(after - before, 3) for before, after in pairwise(times)}
    assert steps <= {0.019, 0.02, 0.021}, "rounded by the containers to a thousandth of a second"


def test_a_pause_in_sound_that_is_encoded_anew_stays_one(
    make_video: MakeVideo, tmp_path: Path, out: Path
) -> None:
    with (
        av.open(str(make_video("whole.mkv", times=50, audio=("aac",)))) as whole,
        av.open(str(tmp_path / "paused.mkv"), "w") as paused,
    ):
        streams = {stream.index: paused.add_stream_from_template(stream) for stream in whole.streams}
        for packet in whole.demux():
            at = float((packet.pts or 0) * packet.time_base)
            if packet.dts is None or (packet.stream.type == "audio" and 0.5 <= at < 1.2):
                continue
            packet.stream = streams[packet.stream.index]
            paused.mux(packet)
    repaint(tmp_path / "paused.mkv", out / "a.webm")
    times = [seconds for _, seconds in packets(out / "a.webm", 0)]
    assert times[-1] == pytest.approx(packets(tmp_path / "paused.mkv", 0)[-1][1], abs=0.06)
    assert not [at for at in times if 0.6 < at < 1.1]


@pytest.mark.parametrize(
    ("codec", "layout", "becomes"),
    [("ac3", "5.1(side)", "5.1"), ("ac3", "5.0(side)", "5.0"), ("ac3", "4.0", "stereo")],
)
def test_loudspeakers_that_the_encoder_does_not_know_are_arranged_for_it(
    make_video: MakeVideo, out: Path, codec: str, layout: str, becomes: str
) -> None:
    notes = repaint(make_video("a.mkv", times=12, audio=(codec,), audio_layout=layout), out / "a.webm")
    with av.open(str(out / "a.webm")) as container:
        assert container.streams.audio[0].codec_context.layout.name == becomes
        assert sum(frame.samples for frame in container.decode(audio=0)) > 40_000
    assert any("mixed to stereo" in note for note in notes) == (becomes == "stereo")


def test_a_failing_sound_encoder_is_named_itself(
    make_video: MakeVideo, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video("a.mkv", times=12, audio=("aac",))
    monkeypatch.setitem(tracks._AUDIO_ENCODER, "webm", "vorbis")  # experimental: does not open
    with pytest.raises(RunError, match=r"audio stream 1 \(aac\) - vorbis.*\.mkv"):
        repaint(path, out / "a.webm")
    assert list(out.iterdir()) == []


def test_subtitles_are_copied_within_a_kind_of_container(make_video: MakeVideo, out: Path) -> None:
    for name, codec in (("a.mkv", "subrip"), ("b.mkv", "ass"), ("c.mp4", "mov_text")):
        path = make_video(name, times=15, subtitle=codec)
        assert repaint(path, out / name) == []
        assert packets(path, 0, "subtitles") == packets(out / name, 0, "subtitles")


@pytest.mark.parametrize(
    ("source", "codec", "target"),
    [("a.mkv", "subrip", "b.mp4"), ("a.mp4", "mov_text", "b.mkv"), ("a.mkv", "subrip", "b.webm")],
)
def test_text_subtitles_are_converted_and_told(
    make_video: MakeVideo, out: Path, source: str, codec: str, target: str
) -> None:
    notes = repaint(make_video(source, times=15, subtitle=codec), out / target)
    assert any("without styling" in note for note in notes)
    shown = [(payload, time) for payload, time in packets(out / target, 0, "subtitles") if len(payload) > 2]
    assert [time for _, time in shown] == pytest.approx([0.04, 0.24], abs=1e-3)
    assert b"Hello, world" in shown[0][0].replace(b"<i>", b"").replace(b"</i>", b"")
    assert "Grüße".encode() in shown[1][0]


def test_ass_loses_its_styling_but_not_its_commas() -> None:
    from allaprima.sinks.subtitles import text_of

    packet = rb"0,0,Default,,0,0,0,,{\i1}Well,{\i0} yes\Nand\hno"
    assert text_of("ass", packet) == "Well, yes\nand no"
    assert text_of("hdmv_pgs_subtitle", b"\0") is None


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_chapters_and_titles_stay(make_video: MakeVideo, out: Path, suffix: str) -> None:
    path = make_video(f"a{suffix}", times=12, chapters=True, title="A walk")
    repaint(path, out / f"a{suffix}")
    with av.open(str(out / f"a{suffix}")) as container:
        assert {key.lower(): value for key, value in container.metadata.items()}["title"] == "A walk"
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["One", "Two"]
        second = container.chapters()[1]
        assert float(second["start"] * (second["time_base"] or 0)) == pytest.approx(0.2, abs=1e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_preview_has_the_chapters_that_it_shows(make_video: MakeVideo, out: Path, suffix: str) -> None:
    path = make_video(f"a{suffix}", times=12, chapters=True)  # "Two" from 0.2 to 0.48 s
    for seconds, wanted in ((0.16, [("One", 0.16)]), (0.32, [("One", 0.2), ("Two", 0.32)])):
        to = out / f"{seconds}{suffix}"
        repaint(path, to, until=seconds)
        with av.open(str(to)) as container:
            found = [
                (one["metadata"]["title"], float(one["end"] * (one["time_base"] or 0)))
                for one in container.chapters()
            ]
        assert found == [(title, pytest.approx(end, abs=2e-3)) for title, end in wanted]


def test_attachments_stay_in_matroska_and_are_missed_in_mp4(
    make_video: MakeVideo, out: Path, tmp_path: Path
) -> None:
    plain = make_video("plain.mkv", times=5)
    path = tmp_path / "font.mkv"
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
        target.add_attachment("font.ttf", "font/ttf", b"0123456789")
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    repaint(path, out / "a.mkv")
    with av.open(str(out / "a.mkv")) as container:
        assert [stream.data for stream in container.streams if stream.type == "attachment"] == [b"0123456789"]
    assert any("attachment" in note for note in repaint(path, out / "a.mp4"))


def test_an_animated_gif_becomes_a_video(tmp_path: Path, out: Path) -> None:
    frames = [Image.fromarray(picture(41, 30, number * 5)) for number in range(4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=80)
    repaint(tmp_path / "a.gif", out / "a.mp4")
    with VideoSource(out / "a.mp4") as source:
        assert [round(frame.time, 2) for frame in source] == [0.0, 0.08, 0.16, 0.24]
        assert (source.width, source.height) == (42, 30)
