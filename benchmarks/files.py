"""A film, painted: wall time against a plain decode and encode, and against the loop that people write today.

    python benchmarks/files.py                       # the shipped style, a 1280x720 H.264 film with 5.1 sound
    python benchmarks/files.py --style my.prima --source film.mp4 --rounds 5
    python benchmarks/files.py --style starry --beside my.prima     # two, in turn: in bytes and in planes, say

All three write H.264. Ours and the plain one with the same settings (x264 veryfast, crf 18) and the sound; the peer's
is `cv2.VideoCapture`, `candy.onnx` in ONNX Runtime as it is installed, `cv2.VideoWriter` and no sound, for a few
frames because each takes a second. Starting up is not counted. The goals: at most 1.6 times the plain wall time, at
least 40 times faster than the peer. What was written is read again: every frame at its time, all packets of the sound.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lines
import numpy as np

GOAL_PLAIN, GOAL_PEER = 1.6, 40
THREADS = 2
FILM = lines.SHARED / "video" / "clips" / "bbb_720p25_aac51.mp4"
PEER = lines.SHARED / "peers" / "candy.onnx"


def main() -> None:
    parser = lines.arguments(__doc__)
    parser.add_argument("--style", default="starry", help="a style's name or path (default: starry)")
    parser.add_argument(
        "--beside", help="another style, painted in the same rounds; the peer is compared with --style alone"
    )
    parser.add_argument("--source", type=Path, default=FILM, help="a film (default: of the shared data)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-frames", type=int, default=6)
    args = parser.parse_args()
    if not args.source.is_file():
        sys.exit(f"nothing to paint: {args.source} is not here")
    from allaprima.sources import VideoSource
    from allaprima.stylizer import Stylizer

    with VideoSource(args.source, planes=True) as source:
        size, coding = (source.width, source.height), source.coding
    with (
        tempfile.TemporaryDirectory() as folder,
        Stylizer.open(args.style, size=size, coding=coding, threads=THREADS, profile="file") as stylizer,
        Stylizer.open(args.beside, size=size, coding=coding, threads=THREADS, profile="file")
        if args.beside
        else nullcontext() as other,
    ):
        out = Path(folder)
        own = stylizer.report.edges
        ways: list[tuple[str, Callable[[Any], Any], str]] = [
            ("plain", lambda frame: frame, own),
            ("painted", stylizer, own),
        ]
        if other:
            ways.append(("beside", other, other.report.edges))
        seconds: dict[str, list[float]] = {name: [] for name, *_ in ways}
        frames = 0
        for _ in range(args.rounds):
            for name, paint, edges in ways:
                begun = time.perf_counter()
                frames = _through(args.source, out / f"{name}.mp4", paint, edges)
                seconds[name].append(time.perf_counter() - begun)
        for name, *_ in ways[1:]:
            _check(args.source, out / f"{name}.mp4", out / "plain.mp4", frames)
        peer_s = _peer(args.source, out / "peer.mp4", args.peer_frames) if PEER.is_file() else None
        report, beside = stylizer.report, other.report if other else None
    best = {name: float(np.median(times)) for name, times in seconds.items()}
    ratio = best["painted"] / best["plain"]
    faster = peer_s / (best["painted"] / frames) if peer_s else None
    lines.report(
        "files",
        {
            "what": f"{report.style}, {args.source.name}, {size[0]}x{size[1]}, {frames} frames",
            "machine": lines.machine(),
            "versions": lines.versions("openvino", "onnxruntime", "av", "opencv-python"),
            "backend": report.line,
            "edges": report.edges,
            **({"beside": {"backend": beside.line, "edges": beside.edges}} if beside else {}),
            "seconds": {name: [round(one, 2) for one in times] for name, times in seconds.items()},
            "fps": {name: round(frames / one, 1) for name, one in best.items()},
            "peer_ms_per_frame": round(peer_s * 1000, 1) if peer_s else None,
            "times_the_plain_wall_time": round(ratio, 2),
            "times_faster_than_the_peer": round(faster, 1) if faster else None,
            "goals": {
                f"at most {GOAL_PLAIN} times the plain wall time": ratio <= GOAL_PLAIN,
                f"{GOAL_PEER} times faster than the peer": faster is not None and faster >= GOAL_PEER,
            },
        },
        keep=args.keep,
    )


def _through(path: Path, target: Path, paint: Callable[[Any], Any], edges: str) -> int:
    """Decode, paint, encode, with the sound; how many frames."""
    from allaprima.sinks import VideoSink
    from allaprima.sources import VideoSource
    from allaprima.stream import play

    with (
        VideoSource(path, planes=edges == "planes") as source,
        VideoSink(target, like=source, overwrite=True) as sink,
    ):
        return play(source, paint, sink).frames


def _check(source: Path, painted: Path, plain: Path, frames: int) -> None:
    import av

    def look(path: Path) -> tuple[list[float], list[bytes], float]:
        with av.open(str(path)) as film:
            decoded = [(float(one.time or 0), one.to_ndarray().mean()) for one in film.decode(video=0)]
        with av.open(str(path)) as film:
            sound = [bytes(packet) for packet in film.demux(audio=0) if packet.size]
        return [time for time, _ in decoded], sound, float(np.mean([mean for _, mean in decoded]))

    before, after, unpainted = look(source), look(painted), look(plain)
    assert len(after[0]) == frames == len(before[0]), "frames were lost"
    assert np.allclose(after[0], before[0], atol=1e-3), "frames have moved in time"
    assert after[1] == before[1], "the sound is another"
    assert abs(unpainted[2] - before[2]) < 1, "the plain way changes the pictures"
    assert abs(after[2] - before[2]) > 1, "nothing was painted"


def _peer(path: Path, target: Path, frames: int) -> float:
    """Seconds per frame of the loop that people write today."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import cv2
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(PEER), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    capture = cv2.VideoCapture(str(path))
    width, height = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    rate = capture.get(cv2.CAP_PROP_FPS)
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter_fourcc(*"mp4v"), rate, (width, height))
    begun = 0.0
    for number in range(frames + 1):
        if number == 1:
            begun = time.perf_counter()  # the first one warms up
        read, frame = capture.read()
        assert read, "the film is too short"
        rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB).astype(np.float32)
        painted = session.run(None, {name: rgb.transpose(2, 0, 1)[None]})[0][0]
        assert np.isfinite(painted).all()
        picture = np.clip(painted.transpose(1, 2, 0), 0, 255).astype(np.uint8)
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    took = time.perf_counter() - begun
    writer.release()
    capture.release()
    return took / frames


if __name__ == "__main__":
    main()
