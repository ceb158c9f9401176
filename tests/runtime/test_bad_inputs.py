"""What cannot be read says which file, why, and what to do next."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from media import picture
from PIL import Image as Pictures

from allaprima.cli import main
from allaprima.errors import DeviceError, InputError
from allaprima.sources import is_picture, open_source


def code_of(spec: object) -> str:
    with pytest.raises(InputError) as caught:
        open_source(str(spec))
    assert Path(str(spec)).name in str(caught.value)
    assert caught.value.why
    assert caught.value.next
    return caught.value.code


def test_a_missing_file_suggests_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "holiday.mp4").write_bytes(b"x")
    with pytest.raises(InputError, match="did you mean 'holiday.mp4'") as caught:
        open_source(tmp_path / "holliday.mp4")
    assert caught.value.code == "E_INPUT_MISSING"


def test_a_name_that_no_disk_takes_is_a_missing_file(tmp_path: Path) -> None:
    for name in ("n" * 300 + ".mp4", "n" * 300):
        assert code_of(tmp_path / name) == "E_INPUT_MISSING"
        assert code_of(name) == "E_INPUT_MISSING"


def test_every_way_of_not_being_a_video_has_its_own_code(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "text.mp4").write_text("Dear diary, ...\n" * 20)
    (tmp_path / "noise.mp4").write_bytes(bytes(range(1, 256)) * 50)
    assert code_of(tmp_path / "empty.mp4") == "E_INPUT_EMPTY"
    assert code_of(tmp_path / "folder.mp4") == "E_INPUT_FOLDER"
    assert code_of(tmp_path / "text.mp4") == "E_INPUT_NOT_VIDEO"
    assert code_of(tmp_path / "noise.mp4") == "E_INPUT_NOT_VIDEO"
    assert code_of("/dev/null") == "E_INPUT_KIND"


def test_a_text_in_another_alphabet_is_still_a_text(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("Übergröße — ночь — 夜" * 400, encoding="utf-8")
    with pytest.raises(InputError, match="text file"):
        open_source(tmp_path / "text.mp4")


def test_a_playlist_named_mp4_opens_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n")
    assert code_of(tmp_path / "list.mp4") == "E_INPUT_NOT_VIDEO"


def test_a_video_with_sound_only_says_so(make_video: Callable[..., Path], tmp_path: Path) -> None:
    whole = make_video("both.mp4", audio=("aac",))
    sound = tmp_path / "sound.m4a"
    with av.open(str(whole)) as source, av.open(str(sound), "w", format="mp4") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    with pytest.raises(InputError, match="sound but no picture") as caught:
        open_source(sound)
    assert caught.value.code == "E_INPUT_NO_PICTURES"


def test_an_mp4_without_its_index_is_called_cut_off(make_video: Callable[..., Path]) -> None:
    path = make_video(times=50)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"moov") - 4])
    with pytest.raises(InputError, match="index") as caught:
        open_source(path)
    assert caught.value.code == "E_INPUT_TRUNCATED"


def test_an_mp4_with_its_index_in_front_is_not_painted_halfway_in_silence(
    make_video: Callable[..., Path],
) -> None:
    path = make_video(times=50, format="mp4")
    front = path.with_name("front.mp4")
    options = {"movflags": "faststart"}
    with av.open(str(path)) as source, av.open(str(front), "w", container_options=options) as target:
        stream = target.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    content = front.read_bytes()
    front.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(InputError, match="bytes are missing at the end"):
        open_source(front)
    with open_source(front, on_corrupt="skip") as rest:
        count = sum(1 for _ in rest)
    assert 0 < count < 50
    assert any("cut off" in note for note in rest.notes)


def test_a_cut_matroska_is_noticed_and_one_from_a_pipe_is_not_accused(
    make_video: Callable[..., Path], tmp_path: Path
) -> None:
    whole = make_video("whole.mkv", times=50)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert code_of(cut) == "E_INPUT_TRUNCATED"

    piped = tmp_path / "piped.mkv"  # whoever writes to a pipe cannot go back and fill in the length
    content = whole.read_bytes()
    at = content.index(b"\x18\x53\x80\x67") + 4
    piped.write_bytes(content[:at] + b"\x01" + b"\xff" * 7 + content[at + 8 :])
    with open_source(piped) as source:
        assert sum(1 for _ in source) == 50


def test_damage_in_the_middle_fails_with_its_time_or_is_skipped_and_counted(
    make_video: Callable[..., Path],
) -> None:
    path = make_video("clip.mp4", times=50, options={"g": "10", "preset": "ultrafast"})
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][25]
        where, length = packet.pos or 0, packet.size
    content = bytearray(path.read_bytes())
    content[where : where + length] = b"\xff" * length
    path.write_bytes(content)
    with open_source(path) as source, pytest.raises(InputError, match=r"at \d+\.\d+ s") as caught:
        list(source)
    assert caught.value.code == "E_INPUT_CORRUPT"
    with open_source(path, on_corrupt="skip") as source:
        indices = [frame.index for frame in source]
    assert 45 <= len(indices) < 50
    assert any("skipped" in note for note in source.notes)


def test_a_picture_is_known_by_its_bytes(tmp_path: Path) -> None:
    from PIL import Image

    named_wrong = tmp_path / "picture.mp4"
    Image.new("RGB", (32, 24), "red").save(named_wrong, "PNG")
    assert is_picture(named_wrong)
    assert not is_picture(tmp_path / "nothing.png")
    with open_source(named_wrong) as source:
        assert (source.frames, source.width, source.height) == (1, 32, 24)


def test_a_damaged_box_length_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / "loop.mp4"
    path.write_bytes(struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0) + struct.pack(">I4s", 3, b"free") * 10)
    assert code_of(path) in ("E_INPUT_TRUNCATED", "E_INPUT_NOT_VIDEO")


def test_an_address_is_not_taken_for_a_file() -> None:
    with pytest.raises(InputError, match="network"):
        open_source("https://example.org/clip.mp4")


def test_a_camera_that_is_not_there_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    from allaprima.sources import camera

    there = [camera.Camera(0, "Front", "/dev/video0"), camera.Camera(2, "Back", "/dev/video2")]
    monkeypatch.setattr(camera, "list_cameras", lambda: there)
    monkeypatch.setattr("sys.platform", "linux")
    started = time.monotonic()
    with pytest.raises(DeviceError, match="'Front'.*'Back'.*allaprima cameras") as caught:
        open_source("99")
    assert time.monotonic() - started < 2
    assert caught.value.code == "E_CAMERA_NOT_FOUND"


def test_shared_broken_files_give_a_clear_error_or_a_proper_result(shared_data: Path, out: Path) -> None:
    from allaprima.sinks import open_sink
    from allaprima.stream import play

    codes = {}
    for path in sorted((shared_data / "video" / "broken").iterdir()):
        target = out / f"{path.stem}.mp4"
        try:
            with open_source(path) as source, open_sink(target, like=source) as sink:
                play(source, lambda frame: frame, sink)
        except InputError as error:
            codes[path.name] = error.code if path.name in error.what and error.next else str(error)
        else:
            codes[path.name] = ""
            with open_source(target) as again:
                assert sum(1 for _ in again) > 20
    assert codes == {
        "avi_large_length.avi": "",
        "chunk_out_of_range.mp4": "E_INPUT_NOT_VIDEO",
        "clusterfuzz.avif": "E_INPUT_NOT_PICTURE",
        "corrupted_midstream.mp4": "E_INPUT_CORRUPT",
        "empty_track.mp4": "",
        "encrypted_uuid.mp4": "E_INPUT_CORRUPT",
        "failing_audio.mp4": "",
        "header_only_truncated.mp4": "E_INPUT_TRUNCATED",
        "malformed_free_box.mp4": "E_INPUT_TRUNCATED",
        "missing_stsd_audio.mp4": "",
        "moov_only_no_mdat.mp4": "E_INPUT_TRUNCATED",
    }
    assert {path.stem for path in out.iterdir()} == {
        Path(name).stem for name, code in codes.items() if not code
    }


@pytest.mark.parametrize("out", ["a-file.png", "a-file.png/inside"])
def test_a_folder_cannot_be_painted_into_a_file(
    out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Pictures.fromarray(picture(30, 40, 0)).save(photos / "a.png")
    (tmp_path / "a-file.png").write_bytes(b"something")
    assert main(["run", str(photos), "--style", "wave", "--out", str(tmp_path / out)]) == 4
    said = capsys.readouterr().err
    assert "there is a file of that name" in said
    assert "E_BUG" not in said
    assert (tmp_path / "a-file.png").read_bytes() == b"something"


def test_nothing_that_ships_joins_pictures_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALLAPRIMA_STYLES", str(tmp_path))
    assert main(["panorama", "a.png", "b.png", "-o", str(tmp_path / "view.png")]) == 2
    assert "train recipes/fuse.toml" in capsys.readouterr().err
