"""`allaprima export RUN`: from a run folder to a bundle."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .pipeline import Exported
    from .variants import Made

HELP = "export a training run as a proven bundle"
EXTRA = "export"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        type=Path,
        metavar="RUN",
        help="what `allaprima train` wrote: runs/NAME; or a bundle, or a style's name, to have it in other forms",
    )
    parser.add_argument(
        "--out", type=Path, metavar="NAME.prima", help="the bundle (default: the recipe's name, here)"
    )
    parser.add_argument("--zip", action="store_true", dest="as_zip", help="one file instead of a folder")
    parser.add_argument(
        "--variants",
        type=_words,
        metavar="LIST",
        help="fp32,fp16,int8 (default: all, with --profile fp32); what is not faithful, or for speed and not faster, "
        "is left out",
    )
    parser.add_argument(
        "--profile",
        type=_words,
        action="extend",
        default=[],
        metavar="LIST",
        help="portable, mobile (with --at), web, float: variants for other programs, docs/embedding.md",
    )
    parser.add_argument(
        "--planes",
        type=_words,
        metavar="LIST",
        help="the variants that are written once more for video, with YUV 4:2:0 instead of RGB (default: all)",
    )
    parser.add_argument(
        "--no-planes", action="store_const", const=[], dest="planes", help="without variants for video"
    )
    parser.add_argument(
        "--quantizer",
        type=_words,
        default=[],
        metavar="LIST",
        help="nncf, nncf-symmetric, ort, modelopt (default: the best for each backend that starts here)",
    )
    parser.add_argument(
        "--plan",
        type=Path,
        metavar="BUNDLE",
        help="keep those layers in floating point that its int8 variant keeps (default: as in the bundle that is "
        "overwritten, or searched)",
    )
    parser.add_argument(
        "--at",
        action="append",
        type=_size,
        default=[],
        metavar="WxH",
        dest="fixed",
        help="each variant once more with this size built in, for programs that need it; with --profile mobile, that "
        "one only; may be repeated",
    )
    parser.add_argument(
        "--opset", type=int, default=18, metavar="N", help="ONNX operator set, 17 to 21 (default: 18)"
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="FOLDER",
        help="photographs to measure parity on (default: those that the training held out)",
    )
    parser.add_argument(
        "--post",
        default="",
        metavar="STAGE,...",
        help="post-processing in the graph, each a control: denoise, match-luminance, match-palette, sharpen, grain",
    )
    parser.add_argument(
        "--direction",
        default="",
        metavar="NAME",
        help="another generator of a method that trains several: back (of cyclegan) makes photographs of paintings",
    )
    parser.add_argument(
        "--engine",
        action="append",
        default=[],
        metavar="CARD",
        dest="engines",
        help="also build TensorRT engines for --at, into this user's cache: turing, ampere, ada, blackwell, sm80 ... "
        "on any machine (extra: rtx), or here for the card of this one; may be repeated",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE.html",
        help="a page with every variant beside the trained network",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that exists")
    parser.add_argument("--json", action="store_true", help="the result as one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    from .pipeline import export

    exported = export(
        args.source,
        args.out,
        variants=args.variants or (["fp32"] if args.profile else ["fp32", "fp16", "int8"]),
        profiles=args.profile,
        planes=args.planes,
        fixed=args.fixed,
        opset=args.opset,
        pictures=args.pictures,
        quantizers=args.quantizer,
        report=args.report,
        plan=args.plan,
        direction=args.direction,
        post=[stage.strip().replace("-", "_") for stage in args.post.split(",") if stage.strip()],
        engines=args.engines,
        as_zip=args.as_zip,
        overwrite=args.overwrite,
        on_stage=lambda stage: print(f"{stage} ...", file=sys.stderr, flush=True),
    )
    print(json.dumps(_as_dict(exported)) if args.json else _report(exported))
    return 0


def _report(exported: Exported) -> str:
    rows = [
        *((one.name, one.judged.line) for one in exported.made),
        *(
            (one.name, f"keeps {', '.join(one.plan.keep)} in floating point")
            for one in exported.made
            if one.plan and one.plan.keep
        ),
        *((one.name, lap.line) for one in exported.made for lap in one.laps),
        *((f"{one.name} dropped", one.why_not) for one in exported.dropped),
        *((f"openvino {name}", str(getattr(one, "line", one))) for name, one in exported.elsewhere.items()),
        ("grid", exported.grid.line if exported.grid is not None else "not measured"),
        ("border", exported.border.line if exported.border is not None else "not measured"),
        *(("golden", f"{'ok' if one else 'not run'}: {one.line}") for one in exported.checked),
        *(("engine", f"{one.what}, {one.key.line}: {one.seconds:.1f} s") for one in exported.engines),
        *(("note", note) for note in exported.notes),
    ]
    size = sum(record.bytes for record in exported.manifest.files.values())
    lines = [f"{name:>15}  {text}" for name, text in rows]
    return "\n".join([*lines, f"wrote {exported.path} ({size / 1e6:.2f} MB)"])


def _as_dict(exported: Exported) -> dict[str, object]:
    import dataclasses

    return {
        "path": str(exported.path),
        "variants": {one.name: {**dataclasses.asdict(one.judged), **_raced(one)} for one in exported.made},
        "dropped": {
            one.name: {"why": one.why_not, **dataclasses.asdict(one.judged), **_raced(one)}
            for one in exported.dropped
        },
        "openvino": {
            name: one if isinstance(one, str) else dataclasses.asdict(one)
            for name, one in exported.elsewhere.items()
        },
        "grid": dataclasses.asdict(exported.grid) if exported.grid is not None else None,
        "border": dataclasses.asdict(exported.border) if exported.border is not None else None,
        "golden": [
            {"backend": one.backend, "precision": one.precision, "ran": one.ran} for one in exported.checked
        ],
        "engines": [{"what": one.what, "line": one.key.line, "bytes": one.bytes} for one in exported.engines],
        "notes": exported.notes,
    }


def _raced(made: Made) -> dict[str, object]:
    return {
        "keep": list(made.plan.keep) if made.plan else [],
        "made_for": list(made.made_for),
        "laps": [vars(lap) for lap in made.laps],
    }


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _size(text: str) -> tuple[int, int]:
    """`1280x720` -> (1280, 720)."""
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, as in 1280x720")
    return int(found[1]), int(found[2])
