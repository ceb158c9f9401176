"""Does a style leave a grid, or a band along the border? Measured on photographs that no training saw.

    python benchmarks/artefacts.py --bundle starry

The goals: at the frequencies of the pixel shuffle at most 1 dB more than the photograph has there, and the
outer 16 pixels within 10 % of what the same pixels are inside a larger picture, and no row or column of a plain sky
more than 8 levels from that.
"""

from __future__ import annotations

import dataclasses
import sys

import lines

from allaprima import Stylizer
from allaprima.bundle import Bundle, find_style
from allaprima.sources.pictures import PictureSource
from allaprima_export.artefacts import BORDER_LIMIT, GRID_LIMIT_DB, SKY_LEVELS, border, grid


def main() -> None:
    parser = lines.arguments(__doc__)
    parser.add_argument("--bundle", default="starry", help="a style's name or path (default: starry)")
    args = parser.parse_args()
    files = sorted((lines.SHARED / "content" / "eval").glob("*.png"))
    if not files:
        sys.exit(f"cannot measure: there are no photographs in {lines.SHARED / 'content' / 'eval'}")
    photos = [next(iter(PictureSource(str(file)))).image for file in files]
    bundle = Bundle.open(find_style(args.bundle))
    with Stylizer.open(bundle, precision="fp32") as stylizer:
        paintings = [stylizer.paint(photo) for photo in photos]
        edge = border(stylizer.paint, photos)
    lattice = grid(zip(photos, paintings, strict=True), bundle.manifest.geometry.stride)
    lines.report(
        "artefacts",
        {
            "what": f"{bundle.manifest.name} ({bundle.manifest.lineage.network})",
            "pictures": len(photos),
            "grid": dataclasses.asdict(lattice),
            "border": dataclasses.asdict(edge),
            "goals": {
                f"grid at most {GRID_LIMIT_DB:+.0f} dB": bool(lattice),
                f"border within {BORDER_LIMIT:.0%}, sky within {SKY_LEVELS:g} levels": bool(edge),
            },
        },
        keep=args.keep,
    )


if __name__ == "__main__":
    main()
