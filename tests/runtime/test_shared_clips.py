"""Real clips through the whole way with a painter that changes nothing, compared with what PyAV says of both ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest

from allaprima.errors import InputError
from allaprima.frame import Frame
from allaprima.pixels import fit
from allaprima.sinks import open_sink
from allaprima.sources import VideoSource, open_source
from allaprima.stream import play

_BOX = (320, 320)  # shrunk on the way in, because encoding is what takes the time
_CLIPS = [
    *("clips/bbb_720p25_aac51.mp4", "clips/bikes_640x272_25.mp4", "clips/carphone_qcif_30.mp4"),
    *("clips/chaplin_360p25_mp3.mp4", "clips/nasa_13013_multistream_aac.mp4"),
    *("edge/alpha_vp9_vorbis.webm", "edge/android_slowmo_vfr.mp4", "edge/ass_subtitles_ac3.mkv"),
    *("edge/audio_shorter_than_video.mp4", "edge/bt709_full_range_720p.mp4", "edge/chapters_aac.mp4"),
    *("edge/editlist_preroll.mp4", "edge/fragmented_aac.mp4", "edge/gif_314x273_oddheight.gif"),
    *("edge/h264_10bit_200sq.mp4", "edge/h264_mp2.ts"),
    *("edge/no_duration_vp9_opus.webm", "edge/phone_720p_rot180_vfr_aac.mp4"),
    *("edge/phone_hevc_rot-90_metadata.mp4", "edge/rot_0.mov", "edge/rot_180.mov", "edge/rot_270.mov"),
    *("edge/rot_90.mov", "edge/silent_black_10s.mp4", "edge/tiny_1x1.mp4", "edge/video_only.mp4"),
]
_LONG = [  # minutes, together: pytest -m slow
    *("clips/bbb_1080p60_vp8_vorbis51.webm", "clips/bbb_720p24_30s_vp8_vorbis.webm"),
    *("clips/camera_360p30_17s_aac.mp4", "clips/cockatoo_720p20_yuv444_mp3.mp4"),
    *("clips/emulator_720p30_aac.mp4", "edge/emulator_720p_rot90_aac.mp4"),
    *("edge/hdr10_av1_720x1280_aac.mp4", "edge/hlg10_hevc_1080p_rot-90_aac.mp4"),
    "edge/long_6min_1080p30_h264_aac.mp4",
]


@dataclass
class Film:
    """What PyAV itself finds in a file; times count from the container's start where that is a broadcast's clock."""

    times: list[float]
    upright: tuple[int, int]  # width, height as they should be shown
    sounds: list[list[bytes]]
    sound_times: list[list[float]]
    subtitles: int
    chapters: int
    title: str | None


def look(path: Path) -> Film:
    with av.open(str(path), metadata_errors="replace") as film:
        origin = (film.start_time or 0) / 1e6 if film.format.name == "mpegts" else 0.0
        stream = film.streams.video[0]
        stream.thread_type = "AUTO"
        times, width, height = [], 0, 0
        for frame in film.decode(stream):
            times.append(float(frame.time or 0) - origin)
            turned = abs(frame.rotation) == 90
            width, height = (frame.height, frame.width) if turned else (frame.width, frame.height)
        subtitles, chapters = len(film.streams.subtitles), len(film.chapters())
        title = {key.lower(): value for key, value in film.metadata.items()}.get("title")
        count = len(film.streams.audio)
    sounds, sound_times = [], []
    for number in range(count):
        with av.open(str(path), metadata_errors="replace") as film:
            packets = [packet for packet in film.demux(audio=number) if packet.size]
            sounds.append([bytes(packet) for packet in packets])
            sound_times.append([float((packet.pts or 0) * packet.time_base) - origin for packet in packets])
    return Film(times, (width, height), sounds, sound_times, subtitles, chapters, title)


@pytest.mark.parametrize("name", [*_CLIPS, *(pytest.param(name, marks=pytest.mark.slow) for name in _LONG)])
def test_a_clip_comes_through_whole(shared_data: Path, out: Path, name: str) -> None:
    path = shared_data / "video" / name
    target = out / f"{path.stem}.mp4"
    first: list[np.ndarray] = []

    def keep_first(frame: Frame) -> Frame:
        if not first:
            first.append(frame.image)
        return frame

    with open_source(path, size=_BOX) as source, open_sink(target, like=source) as sink:
        assert isinstance(source, VideoSource)
        source.planes = True
        played = play(source, keep_first, sink)
    before, after = look(path), look(target)

    assert played.frames == len(before.times) == len(after.times)
    assert after.times == pytest.approx(before.times, abs=1e-3)
    shown = fit(*before.upright, _BOX)
    assert (source.width, source.height) == shown
    assert after.upright == tuple(side + side % 2 for side in shown)

    assert after.sounds == before.sounds
    for one, other in zip(before.sound_times, after.sound_times, strict=True):
        assert other == pytest.approx(one, abs=1e-3)
    assert (after.subtitles, after.chapters) == (before.subtitles, before.chapters)
    assert after.title == before.title

    with open_source(target) as again:
        height, width = first[0].shape[:2]
        difference = next(iter(again)).image[:height, :width].astype(int) - first[0]
    assert np.abs(difference.mean((0, 1))).max() < 1.0  # of 255, in each channel: no colour cast
    assert np.abs(difference).mean() < 4  # x264's own noise
    assert [item.name for item in out.iterdir()] == [target.name]


def test_sound_without_pictures_is_refused(shared_data: Path) -> None:
    with pytest.raises(InputError, match="sound but no picture"):
        open_source(shared_data / "video" / "edge" / "audio_only.mp4")


def test_a_kodak_picture_comes_back_bit_for_bit(shared_data: Path, out: Path) -> None:
    path = sorted((shared_data / "content" / "eval").glob("*.png"))[0]
    with open_source(path) as source, open_sink(out / "a.png", like=source) as sink:
        play(source, lambda frame: frame, sink)
    with open_source(path) as one, open_source(out / "a.png") as other:
        np.testing.assert_array_equal(next(iter(one)).image, next(iter(other)).image)
