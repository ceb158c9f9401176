"""Does painting a long film fill the memory? Resident megabytes over 20,000 frames, decoded, painted and encoded.

    python benchmarks/soak.py                        # 640x360, some minutes
    python benchmarks/soak.py --size 1280x720 --frames 20000

The film is made first (a scene that moves, with sound). The goals: growth below 5 MB per 1,000 frames, fitted over
all but the first tenth, and never more than 450 MB in all. The film that was painted is read again and counted.
"""

from __future__ import annotations

import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import lines
import numpy as np

GOAL_GROWTH, GOAL_MOST = 5.0, 450.0
STATM = Path("/proc/self/statm")


def main() -> None:
    parser = lines.arguments(__doc__)
    parser.add_argument("--style", default="starry", help="a style's name or path (default: starry)")
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--size", default="640x360")
    args = parser.parse_args()
    if not STATM.is_file():
        sys.exit("cannot measure: this system does not tell a process its resident memory in /proc")
    width, height = (int(side) for side in args.size.split("x"))
    from allaprima.sinks import VideoSink
    from allaprima.sources import VideoSource
    from allaprima.stream import play
    from allaprima.stylizer import Stylizer

    megabytes: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        film, painted = Path(folder, "film.mp4"), Path(folder, "painted.mp4")
        _make(film, width, height, args.frames)
        begun = time.perf_counter()
        with (
            VideoSource(film, planes=True) as source,
            VideoSink(painted, like=source) as sink,
            Stylizer.open(
                args.style, size=(source.width, source.height), coding=source.coding, profile="file"
            ) as stylizer,
        ):
            source.planes = stylizer.report.edges == "planes"

            def note(frame: object, meter: object) -> None:
                if getattr(meter, "frames", 0) % 100 == 0:
                    megabytes.append((getattr(meter, "frames", 0), _resident()))

            played = play(source, stylizer, sink, on_frame=note)
            report = stylizer.report
        took = time.perf_counter() - begun
        assert played.frames == args.frames, played.frames
        assert _count(painted) == args.frames, "frames were lost"
    late = np.array([one for one in megabytes if one[0] > args.frames / 10])
    growth = float(np.polyfit(late[:, 0], late[:, 1], 1)[0] * 1000)
    most = max(size for _, size in megabytes)
    lines.report(
        "soak",
        {
            "what": f"{report.style}, {width}x{height}, {args.frames} frames",
            "machine": lines.machine(),
            "versions": lines.versions("openvino", "onnxruntime", "av"),
            "backend": report.line,
            "edges": report.edges,
            "seconds": round(took, 1),
            "megabytes": {
                "first": round(megabytes[0][1], 1),
                "last": round(megabytes[-1][1], 1),
                "most": round(most, 1),
                "growth per 1,000 frames": round(growth, 3),
            },
            "goals": {
                f"below {GOAL_GROWTH:g} MB per 1,000 frames": growth < GOAL_GROWTH,
                f"below {GOAL_MOST:g} MB in all": most < GOAL_MOST,
            },
        },
        keep=args.keep,
    )


def _make(path: Path, width: int, height: int, frames: int) -> None:
    """A film of noise that drifts, ten different pictures in turn, with a tone."""
    import av
    from av.audio.frame import AudioFrame
    from av.video.frame import VideoFrame

    noise = np.random.default_rng(0).integers(40, 215, (height // 8, width // 8, 3), np.uint8)
    whole = noise.repeat(8, 0).repeat(8, 1)
    pictures = [np.roll(whole, 8 * number, axis=1) for number in range(10)]
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "30"})
        height, width = whole.shape[:2]
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        sound = out.add_stream("aac", rate=48_000)
        tone = (3000 * np.sin(np.arange(1920) * 2 * np.pi / 96)).astype(np.int16)[None]
        for number in range(frames):
            picture = VideoFrame.from_ndarray(pictures[number % 10], "rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            out.mux(video.encode(picture))
            wave = AudioFrame.from_ndarray(tone, "s16", "mono")
            wave.sample_rate, wave.pts, wave.time_base = 48_000, number * 1920, Fraction(1, 48_000)
            out.mux(sound.encode(wave))
        out.mux(video.encode(None))
        out.mux(sound.encode(None))


def _count(path: Path) -> int:
    import av

    with av.open(str(path)) as film:
        return sum(1 for packet in film.demux(video=0) if packet.size)


def _resident() -> float:
    import resource

    return int(STATM.read_text().split()[1]) * resource.getpagesize() / 1e6


if __name__ == "__main__":
    main()
