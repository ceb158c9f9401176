"""Painting a video goes on after a killed process, and nobody can tell from the result."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction

import av
import media
import pytest

from allaprima.cli import main
from allaprima.sinks import video as video_sink

FRAMES = 75

# Without loss, because x264 spends a few bits differently now and then, over the same pictures in the same process.
PAINT = """
import os, sys
from allaprima.cli import main
from allaprima.sinks import encoders, video
video.CHUNK_FRAMES = 20
encoders.CODECS["h264"].encoders[0].qualities[1]["crf"] = "0"
sys.exit(main(["run", "clip.mp4", "--style", "starry", "--out", "out.mp4", "--backend", "ort", *sys.argv[1:]]))
"""


@pytest.fixture
def folder(tmp_path):
    media.write_video(tmp_path / "clip.mp4", size=(96, 64), times=FRAMES, audio=("aac",), audio_seconds=3.0)
    return tmp_path


def paint(folder, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PAINT, *more], cwd=folder, capture_output=True, text=True, timeout=120
    )


def killed_after_two_chunks(folder) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PAINT], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    journal = folder / "out.mp4.parts" / "journal.jsonl"
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if journal.is_file() and journal.read_bytes().count(b"\n") >= 3:  # the settings and two chunks
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
    process.wait()


def streams_of(path) -> dict[str, list[tuple]]:
    """Decoded pictures by time, and the packets of the sound."""
    found: dict[str, list[tuple]] = {"pictures": [], "sound": []}
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            found["pictures"].append((frame.time, hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest()))
    with av.open(str(path)) as container:
        for packet in container.demux(audio=0):
            if packet.size:
                found["sound"].append(
                    (packet.pts, packet.duration, hashlib.sha256(bytes(packet)).hexdigest())
                )
    return found


def test_a_killed_run_resumes_to_the_same_frames_times_and_sound(folder):
    whole = folder / "whole"
    whole.mkdir()
    os.link(folder / "clip.mp4", whole / "clip.mp4")
    assert paint(whole).returncode == 0
    killed_after_two_chunks(folder)
    assert not (folder / "out.mp4").exists()
    done = paint(folder, "--resume", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["resumed_after"] >= 40
    assert summary["frames"] == FRAMES - summary["resumed_after"]
    found, expected = streams_of(folder / "out.mp4"), streams_of(whole / "out.mp4")
    assert found["sound"] == expected["sound"]
    pairs = enumerate(zip(found["pictures"], expected["pictures"], strict=True))
    assert [number for number, (one, other) in pairs if one != other] == []
    assert len(streams_of(folder / "out.mp4")["pictures"]) == FRAMES
    assert not (folder / "out.mp4.parts").exists()
    left = [path.name for path in folder.iterdir() if path.name.endswith(".part.mp4")]
    assert left == []  # the killed process could not clear up its own draft; who goes on does


def test_an_unfinished_painting_is_neither_thrown_away_nor_mixed_with_another(folder):
    killed_after_two_chunks(folder)
    again = paint(folder)
    assert again.returncode == 4
    assert "E_OUTPUT_UNFINISHED" in again.stderr
    assert "--resume" in again.stderr
    other = paint(folder, "--resume", "--strength", "0.5")
    assert other.returncode == 2
    assert "strength" in other.stderr
    assert "E_RESUME_SETTINGS" in other.stderr
    less = paint(folder, "--resume", "--preview", "0.2s")  # fewer pictures than there are already
    assert less.returncode == 2
    assert "preview was null and is 0.2" in less.stderr
    anew = paint(folder, "--restart", "--strength", "0.5", "--json")
    assert anew.returncode == 0, anew.stderr
    assert json.loads(anew.stdout)["frames"] == FRAMES
    assert not (folder / "out.mp4.parts").exists()


def test_a_damaged_chunk_and_what_follows_it_is_painted_again(folder):
    killed_after_two_chunks(folder)
    chunk = folder / "out.mp4.parts" / "00001.packets"
    chunk.write_bytes(chunk.read_bytes()[:-3])
    done = paint(folder, "--resume", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["resumed_after"] == 20
    assert len(streams_of(folder / "out.mp4")["pictures"]) == FRAMES


def test_resume_of_nothing_is_a_run(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["run", "clip.mp4", "--style", "starry", "--out", "out.mp4", "--resume"]) == 0
    assert len(streams_of(folder / "out.mp4")["pictures"]) == FRAMES


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_chunks_with_variable_frame_times_keep_every_time(folder, monkeypatch, suffix):
    """The encoders' decoding times overlap where chunks meet; no picture may lose its own time for that."""
    monkeypatch.setattr(video_sink, "CHUNK_FRAMES", 7)
    monkeypatch.chdir(folder)
    times = [index * 40 + (index * 37) % 23 + (400 if index > 20 else 0) for index in range(FRAMES)]
    media.write_video(folder / "vfr.mkv", size=(96, 64), times=times, time_base=Fraction(1, 1000))
    out = folder / f"out{suffix}"
    assert main(["run", "vfr.mkv", "--style", "starry", "--out", str(out)]) == 0
    with av.open(str(out)) as container:
        found = [round(frame.time * 1000) for frame in container.decode(video=0)]
    assert found == times
