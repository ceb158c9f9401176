"""How much does our painting flicker, against what people run today?

    python benchmarks/flicker.py                        # all clips, candy, mosaic and wave: some 3 minutes on two cores
    python benchmarks/flicker.py --clips carphone_qcif_30 --frames 8 --pictures somewhere/

Every painter paints the same frames of real clips (../shared/data/video/clips). Measured are warping error and frame
difference (see `allaprima.metrics.steadiness`), and the jitter of a still scene under sensor noise; ours without and
with `--stabilise`. A faint painting flickers less for being faint, so each has its contrast beside it, and the ratios
to the peers are given for errors over contrast, too.

The goal: warping error and jitter at most half of each peer's, the means over all clips.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import lines
import numpy as np
from painters import Paint, opened

from allaprima import open_source
from allaprima.frame import Image
from allaprima.metrics import psnr, static_jitter, steadiness
from allaprima.stylizer import Stylizer
from allaprima.temporal import Stabiliser

CLIPS = lines.SHARED / "video" / "clips"
PEERS = ("candy", "mosaic", "wave")
USED = (
    "camera_360p30_17s_aac",
    "carphone_qcif_30",
    "bikes_640x272_25",
    "chaplin_360p25_mp3",
    "bbb_720p25_aac51",
)
AMOUNT, NOISE, GOAL = 0.8, 2.0, 0.5
BOX = (640, 360)


def main() -> None:
    args = _arguments()
    if not CLIPS.is_dir():
        sys.exit(f"cannot compare: {CLIPS} is not here")
    found: dict[str, dict[str, dict[str, float]]] = {}
    for clip in args.clips:
        frames = frames_of(CLIPS / clip, args.frames)
        for name, figures in _measure(clip, frames, args).items():
            found.setdefault(name, {})[clip] = figures
            print(f"{clip:<24}{name:<20}{_in_words(figures)}", file=sys.stderr)
    means = {
        name: {
            key: round(float(np.mean([one[key] for one in clips.values()])), 3)
            for key in next(iter(clips.values()))
        }
        for name, clips in found.items()
    }
    ratios = {
        f"{ours} / {peer}": _ratios(means[ours], means[peer])
        for ours in means
        for peer in means
        if ours.startswith("ours") and not peer.startswith("ours")
    }
    steady = [ratio for name, ratio in ratios.items() if "stabilised" in name]
    lines.report(
        "flicker",
        {
            "question": f"mean over {len(args.clips)} clips of {args.frames} frames, at most {BOX[0]}x{BOX[1]}",
            "style": args.style,
            "stabilise": AMOUNT,
            "noise": NOISE,
            "means": means,
            "clips": found,
            "ratios": ratios,
            "goal": GOAL,
            "warping_error_reached": all(ratio["warping_error"] <= GOAL for ratio in steady),
            "static_jitter_reached": all(ratio["static_jitter"] <= GOAL for ratio in steady),
            "machine": lines.machine(),
            "versions": lines.versions("openvino", "opencv-python", "numpy"),
        },
        keep=args.keep,
    )


def _arguments() -> argparse.Namespace:
    parser = lines.arguments(__doc__)
    parser.add_argument("--style", default="starry")
    parser.add_argument(
        "--clips", nargs="+", default=list(USED), help="names in video/clips, without extension"
    )
    parser.add_argument("--frames", type=int, default=20, help="of each clip")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), help="names in ../shared/data/peers")
    parser.add_argument("--pictures", type=Path, help="write the last frames side by side into this folder")
    return parser.parse_args()


def frames_of(stem: Path, count: int) -> list[Image]:
    """(H, W, 3) each, from one second after the beginning: many clips begin with black."""
    path = next(iter(sorted(stem.parent.glob(f"{stem.name}.*"))))
    with open_source(path, size=BOX) as source:
        rate = int(source.rate or 25)
        images = [frame.image for frame in islice(source, rate, rate + count)]
    # wave wants multiples of 4; all are given the same pixels
    height, width = (side // 4 * 4 for side in images[0].shape[:2])
    return [np.ascontiguousarray(image[:height, :width]) for image in images]


def _measure(clip: str, frames: list[Image], args: argparse.Namespace) -> dict[str, dict[str, float]]:
    height, width = frames[0].shape[:2]
    shown: dict[str, Image] = {"source": frames[-1]}
    found = {}
    with Stylizer.open(args.style, size=(width, height)) as stylizer:
        bare = [stylizer.paint(image) for image in frames]
        found["ours"] = figures_of(frames, bare, stylizer.paint)
        stabiliser, another = Stabiliser(AMOUNT), Stabiliser(AMOUNT)
        calm = [stabiliser(image, painted) for image, painted in zip(frames, bare, strict=True)]
        found["ours, stabilised"] = figures_of(
            frames, calm, lambda image: another(image, stylizer.paint(image))
        )
        _check(clip, bare, calm)
        shown |= {"ours": bare[-1], "ours, stabilised": calm[-1]}
    for peer in args.peers:
        with opened(str(lines.SHARED / "peers" / f"{peer}.onnx")) as other:
            painted = [other.paint(image) for image in frames]
            assert np.ptp(painted[-1]) > 100, peer
            found[peer] = figures_of(frames, painted, other.paint)
        shown[peer] = painted[-1]
    if args.pictures:
        _write(args.pictures / f"{clip}.png", list(shown.values()))
    return found


def figures_of(frames: list[Image], painted: Sequence[Image], paint: Paint) -> dict[str, float]:
    steady = steadiness(frames, painted)
    return {
        "warping_error": round(steady.warping_error, 3),
        "source_warping_error": round(steady.source_warping_error, 3),
        "difference_ratio": round(steady.difference_ratio, 3),
        "static_jitter": round(static_jitter(paint, frames[len(frames) // 2], noise=NOISE), 3),
        "contrast": round(steady.contrast, 2),
        "sharpness": round(_sharpness(painted), 3),
    }


def _ratios(ours: dict[str, float], peer: dict[str, float]) -> dict[str, float]:
    errors = ("warping_error", "static_jitter")
    plain = {key: round(ours[key] / peer[key], 3) for key in errors}
    by_contrast = {
        f"{key}_over_contrast": round(ours[key] / ours["contrast"] / (peer[key] / peer["contrast"]), 3)
        for key in errors
    }
    return {**plain, **by_contrast}


def _check(clip: str, bare: list[Image], calm: list[Image]) -> None:
    """A stabiliser that shows an old picture, or a blurred one, would measure well."""
    assert np.ptp(bare[-1]) > 100, clip
    nearness = [psnr(steady, plain) for steady, plain in zip(calm, bare, strict=True)]
    assert min(nearness) > 20, (clip, min(nearness))
    kept = _sharpness(calm) / _sharpness(bare)
    assert kept > 0.8, (clip, kept)


def _sharpness(images: Sequence[Image]) -> float:
    """Mean difference of neighbouring pixels, in levels."""
    return float(np.mean([np.abs(np.diff(image.astype(np.int16), axis=1)).mean() for image in images]))


def _in_words(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in figures.items())


def _write(path: Path, images: list[Image]) -> None:
    from PIL import Image as Pictures

    path.parent.mkdir(parents=True, exist_ok=True)
    Pictures.fromarray(np.concatenate(images, axis=1)).save(path)


if __name__ == "__main__":
    main()
