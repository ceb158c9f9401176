"""How much faster is a style in int8 than in bf16 on OpenVINO, and does it still paint the same?

    python benchmarks/int8.py                      # the shipped style
    python benchmarks/int8.py --bundle my.prima

The goals: at 1280x720 at least 1.2 times as fast as its own bf16 (fp32 on a processor without bf16), and on every one
of the 12 Kodak pictures at least 35 dB PSNR and SSIM 0.97 against fp32. The race is the gate's own: all contenders
paint in turn, in one process.
"""

from __future__ import annotations

import sys
from pathlib import Path

import lines
import numpy as np
import onnx

from allaprima import backends
from allaprima.bundle import Bundle, find_style
from allaprima.frame import Image
from allaprima.metrics import compare
from allaprima.sources.pictures import PictureSource
from allaprima.threads import available
from allaprima_export.gate import HEIGHT, RATIO, WIDTH, WON, compete, race
from allaprima_export.measures import worst_tile

GOAL_TIMES, GOAL_PSNR_DB, GOAL_SSIM = 1.2, 35, 0.97


def main() -> None:
    parser = lines.arguments(__doc__)
    parser.add_argument("--bundle", default="starry", help="a style's name or path (default: starry)")
    args = parser.parse_args()
    bundle = Bundle.open(find_style(args.bundle))
    photos = sorted((lines.SHARED / "content" / "eval").glob("*.png"))
    if not photos:
        sys.exit(f"cannot measure: there are no photographs in {lines.SHARED / 'content' / 'eval'}")
    stored = {variant.precision: bundle.read(variant.file) for variant in reversed(bundle.manifest.for_pictures)
              if variant.fixed is None}  # fmt: skip
    if "int8" not in stored:
        sys.exit(f"cannot compare: {bundle.manifest.name} has no int8 variant")
    native = backends.load("openvino")[0].precisions(None)
    base = "bf16" if "bf16" in native else "fp32"
    models = {name: onnx.load_from_string(stored[name]) for name in ("fp32", "int8")}
    seconds = race("openvino", models)
    lap = compete("openvino", seconds, "int8")
    found = [_apart(stored, photo) for photo in photos]
    psnr_db, ssim, tile_db = (round(min(one[place] for one in found), 4) for place in range(3))
    plan = next(variant.plan for variant in bundle.manifest.variants if variant.precision == "int8")
    lines.report(
        "int8",
        {
            "what": f"{bundle.manifest.name} ({bundle.manifest.lineage.network}) in int8 against {base}, openvino",
            "machine": lines.machine(),
            "versions": lines.versions("openvino", "nncf", "numpy"),
            "shape": [HEIGHT, WIDTH, 3],
            "threads": available(),
            "latency_ms": {name: lines.milliseconds(times) for name, times in seconds.items()},
            "times_faster": round(lap.ratio, 2),
            "rounds_won": round(lap.won, 2),
            "rule": f"median {RATIO} times, {WON:.0%} of rounds",
            "against_fp32": {
                "pictures": len(found),
                "psnr_db": psnr_db,
                "ssim": ssim,
                "worst_tile_db": tile_db,
            },
            "mean_psnr_db": round(float(np.mean([one[0] for one in found])), 2),
            "in_floating_point": list(plan.keep) if plan else [],
            "bytes": {name: len(data) for name, data in stored.items()},
            "goals": {
                f"{GOAL_TIMES} times faster than {base}": lap.ratio >= GOAL_TIMES,
                f"PSNR {GOAL_PSNR_DB} dB and SSIM {GOAL_SSIM}": psnr_db >= GOAL_PSNR_DB and ssim >= GOAL_SSIM,
            },
        },
        keep=args.keep,
    )


def _apart(stored: dict[str, bytes], photo: Path) -> tuple[float, float, float]:
    """PSNR, SSIM and worst tile of int8 against fp32, both on OpenVINO."""
    image = next(iter(PictureSource(str(photo)))).image
    painted = [_paint(stored[name], name, image) for name in ("int8", "fp32")]
    found = compare(*painted)
    assert compare(painted[0], image).psnr_db < 35, "it does not paint"
    return found.psnr_db, found.ssim, worst_tile(*painted)


def _paint(model: bytes, precision: str, image: Image) -> Image:
    kind, device = backends.load("openvino")
    inputs = {"image": image[None], "strength": np.ones(1, np.float32)}
    runner = kind(model, inputs, precision=precision, device=device, threads=available())
    styled: Image = runner.run(inputs)["styled"][0]
    runner.close()
    return styled


if __name__ == "__main__":
    main()
