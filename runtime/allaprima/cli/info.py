"""What a bundle promises: sizes, controls, variants with their measured parity, lineage and terms."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..manifest import Control

HELP = "show what a bundle promises"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundle", metavar="BUNDLE", help="a style's name, a .prima folder or file, or an .onnx"
    )
    parser.add_argument("--json", action="store_true", help="the manifest itself")


def run(args: argparse.Namespace) -> int:
    from ..bundle import Bundle, find_style

    bundle = Bundle.open(find_style(args.bundle))
    manifest = bundle.manifest
    if args.json:
        sys.stdout.write(manifest.to_json().decode())
        return 0
    lineage, geometry, licence = manifest.lineage, manifest.geometry, manifest.licence
    print(f"{manifest.name} {manifest.version}: {manifest.title}")
    print(f"  from      {bundle.path}, packed {manifest.created}")
    print(
        f"  network   {lineage.network}, {lineage.parameters:,} parameters, {lineage.gmac_720p:.1f} GMAC at 1280x720"
    )
    steps = f"{lineage.steps:,} steps, " if lineage.steps else ""
    print(f"  trained   {lineage.method}, {steps}{lineage.trained}")
    sizes = f"from {geometry.minimum} pixels a side, in multiples of {geometry.multiple_of}"
    print(f"  pictures  {sizes}; the painting is {geometry.scale} times as large")
    for control in manifest.controls:
        of = f" for each of {', '.join(control.labels)}" if control.labels else ""
        values = f"{control.minimum:g}..{control.maximum:g}{of}, usually {usual(control)}"
        several = f" ({len(control.initial)} numbers)" if len(control.initial) > 1 and not of else ""
        print(f"  control   {control.name} {values}{several}: {control.help}")
    for variant in manifest.variants:
        parity = variant.parity
        size = manifest.files[variant.file].bytes if variant.file in manifest.files else 0
        print(
            f"  variant   {variant.name}: {variant.file}, {size / 1e6:.2f} MB, opset {variant.opset}; against "
            f"{parity.against} on {parity.frames} pictures: PSNR {parity.psnr_db:.1f} dB, SSIM {parity.ssim:.4f}, "
            f"largest difference {parity.max_difference}"
        )
    print(f"  style     {'; '.join(lineage.style) or 'not stated'} ({licence.style})")
    print(f"  content   {lineage.content} ({licence.content})")
    print(f"  features  {lineage.features}")
    print(f"  licence   {licence.bundle}; weights: {licence.weights}")
    if lineage.notes:
        print(f"  notes     {lineage.notes}")
    return 0


def usual(control: Control) -> str:
    """Its default, in the words and numbers that --control takes."""
    numbers = [f"{value:g}" for value in control.initial]
    if control.labels:
        shares = [
            f"{label}:{value}" for label, value in zip(control.labels, numbers, strict=True) if value != "0"
        ]
        return ",".join(shares) or "0"
    return numbers[0] if len(set(numbers)) == 1 else ",".join(numbers)
