"""What `run` and `live` can do around a style: mix several, paint only a part, keep a calm hand."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import UsageError
from .job import open_stylizer

if TYPE_CHECKING:
    from ..masks import Weights
    from ..mix import Mixture
    from ..painting import Painting
    from ..planes import Coding
    from ..stylizer import Profile, Stylizer

__all__ = ["add_painting_arguments", "open_painter", "open_painting", "open_weights"]

DEFAULT_AMOUNT = 0.8


def add_painting_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mix",
        metavar="STYLE:SHARE,...",
        help="several styles in one picture: starry:0.7,other:0.3; a share may be a picture, white where it paints",
    )
    parser.add_argument(
        "--mask", metavar="PICTURE", help="paint where this picture is white, leave where it is black"
    )
    parser.add_argument(
        "--region",
        metavar="WHAT",
        help="paint only moving, faces:YUNET.onnx or what SEGMENTATION.onnx finds; not:WHAT for all else",
    )
    parser.add_argument(
        "--stabilise",
        type=float,
        metavar="AMOUNT",
        nargs="?",
        const=DEFAULT_AMOUNT,
        help=f"steady a flickering painting, 0 to 0.95 (default: {DEFAULT_AMOUNT})",
    )
    parser.add_argument("--skip-static", action="store_true", help="do not paint again what has not changed")


def open_weights(args: argparse.Namespace) -> list[Weights]:
    """What says where to paint. Raises UsageError, InputError, BundleError, DeviceError."""
    from ..masks import PictureMask, open_region

    if args.stabilise is not None and not 0 <= args.stabilise <= 0.95:
        raise UsageError(
            "E_USAGE", f"cannot stabilise by {args.stabilise:g}", "it goes from 0 to 0.95", "0.8 is usual"
        )
    weights: list[Weights] = []
    if args.mask is not None:
        weights.append(PictureMask(args.mask))
    if args.region is not None:
        weights.append(open_region(args.region, threads=args.threads or 1))
    return weights


def open_painting(
    args: argparse.Namespace,
    size: tuple[int, int],
    weights: list[Weights],
    coding: Coding | None = None,
    profile: Profile = "live",
) -> Stylizer | Painting:
    """The style of `args`, and around it what else they ask for; the bare style where that is nothing. Only that
    paints planes, of a `coding`, and has several frames going at once: mixtures and what looks at pixels want RGB, and
    one after the other."""
    from ..painting import Painting
    from ..temporal import Stabiliser, Still

    if not (args.mix or weights or args.stabilise or args.skip_static):
        return open_stylizer(args.style, args, size, coding, profile)
    painter = open_painter(args.mix or args.style, args, size)
    try:
        return Painting(
            painter,
            weights=weights,
            stabiliser=Stabiliser(args.stabilise) if args.stabilise else None,
            still=Still() if args.skip_static else None,
        )
    except BaseException:
        painter.close()
        raise


def open_painter(style: str, args: argparse.Namespace, size: tuple[int, int]) -> Stylizer | Mixture:
    """`style`, or the mixture where `--mix` asks for it under that name, warm for frames of `size` (width, height)."""
    from ..mix import Mixture, parse_mix

    if style == args.mix:
        return Mixture(parse_mix(style), lambda one: open_stylizer(one, args, size))
    return open_stylizer(style, args, size)
