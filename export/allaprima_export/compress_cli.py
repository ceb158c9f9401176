"""`allaprima compress RUN --target-ms 8 --at 1280x720 --on openvino`: the largest network that is fast enough here.

Channels and blocks that matter least go, a short fine-tune towards the whole network's paintings mends the rest, and
everything on the way is measured. The result is a run: `allaprima export` makes a bundle of it. docs/compress.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .compress import Compressed

HELP = "make a run's network smaller until it is as fast as wanted"
EXTRA = "export"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run_folder", type=Path, metavar="RUN", help="what `allaprima train` wrote: runs/NAME"
    )
    wish = parser.add_argument_group("the wish (default: the table [compress] of the run's recipe)")
    wish.add_argument(
        "--target-ms", type=float, metavar="MS", help="milliseconds for one picture, network alone"
    )
    wish.add_argument("--at", metavar="WxH", help="size of the pictures (default: 1280x720)")
    wish.add_argument(
        "--on", metavar="BACKEND", help="what it is for, here: openvino, ort, ... (default: openvino)"
    )
    wish.add_argument(
        "--precision", metavar="NAME", help="to be that fast in (default: the backend's fastest float)"
    )
    wish.add_argument("--steps", type=int, metavar="N", help="of the fine-tune (default: 600)")
    wish.add_argument(
        "--int8", action="store_true", help="be that fast in int8, and train for it; alone: train for it"
    )
    parser.add_argument("--plan", action="store_true", help="measure and choose, train nothing")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="the new run (default: RUN-8ms or RUN-int8 beside RUN)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a run that is there")
    parser.add_argument(
        "--features", type=Path, metavar="PATH", help="weights of VGG-19, as for `allaprima train`"
    )
    parser.add_argument("--device", help="to train on: cpu, cuda (default: cuda where there is one)")
    parser.add_argument("--json", action="store_true", help="the result as one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    from allaprima import settings
    from allaprima_train.run import Run
    from allaprima_train.tables import Compress

    from .compress import compress

    given = {
        name: value
        for name in ("target_ms", "at", "on", "precision", "steps")
        if (value := getattr(args, name)) is not None
    }
    given |= {"int8": True} if args.int8 else {}
    own = settings.write(Run(args.run_folder).recipe().compress)
    made = compress(
        args.run_folder,
        args.out,
        settings.read(Compress, {**own, **given}, "the command"),
        plan=args.plan,
        features=args.features,
        device=args.device,
        overwrite=args.overwrite,
        on_stage=lambda stage: print(stage, file=sys.stderr, flush=True),
    )
    print(json.dumps(as_json(made)) if args.json else report(made))
    return 0


def report(made: Compressed) -> str:
    size = str(made.chosen)
    if made.run is None:
        rows = [f"{rung.size!s:>10} {rung.gmac:>7.2f} {rung.ms:>8.1f}" for rung in made.rungs]
        return "\n".join([f"{'size':>10} {'GMAC':>7} {'ms':>8}", *rows, f"chosen: {size}"])
    rows = [
        f"{one.name:<17} {one.size!s:>10} {one.precision:<5} {one.ms:>8.1f} {one.psnr_db:>8.1f} "
        f"{one.ssim:>7.4f} {one.structure:>9.3f}  {'*' if one.front else ''}"
        for one in made.points
    ]
    head = f"{'network':<17} {'size':>10} {'in':<5} {'ms':>8} {'PSNR dB':>8} {'SSIM':>7} {'structure':>9}"
    notes = "PSNR and SSIM to the whole run's painting in fp32; * nothing is both faster and nearer"
    return "\n".join([head, *rows, notes, f"next: allaprima export {made.run.folder}"])


def as_json(made: Compressed) -> dict[str, object]:
    from allaprima import settings

    return {
        "run": str(made.run.folder) if made.run is not None else None,
        "chosen": list(made.chosen),
        "rungs": settings.write(made.rungs),
        "points": settings.write(made.points),
    }
