"""Run a bundle's golden pair on every backend and precision that starts here, and compare with its promise.

Exit status 0: everything that runs here keeps the promise; 8: something does not; 6: nothing runs here.
"""

from __future__ import annotations

import argparse
import json

HELP = "prove that a bundle paints here what its makers saw"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="a style's name or a .prima folder or file")
    parser.add_argument("--backend", metavar="NAME", help="only this one, or an error")
    parser.add_argument("--precision", metavar="NAME", help="only this one: fp32, bf16, fp16, int8")
    parser.add_argument("--json", action="store_true", help="one JSON array")


def run(args: argparse.Namespace) -> int:
    from .. import settings
    from ..bundle import Bundle, find_style
    from ..check import check
    from ..errors import DeviceError, QualityError

    bundle = Bundle.open(find_style(args.bundle))
    results = check(bundle, backend=args.backend, precision=args.precision)
    if args.json:
        print(json.dumps([{**settings.write(one), "passed": bool(one)} for one in results], indent=2))
    for one in results if not args.json else []:
        if one.difference is None:
            print(f"--    {one.line}")
            continue
        figures = (
            f"PSNR {one.difference.psnr_db:.1f} dB, SSIM {one.difference.ssim:.4f}, "
            f"largest difference {one.difference.max_difference}"
        )
        exact = {True: ", strength 0 exact", False: ", strength 0 NOT exact", None: ""}[one.identity]
        print(f"{'ok' if one else 'FAIL':<5} {one.line}: {figures}{exact}")
    ran = [one for one in results if one.ran]
    if not ran:
        raise DeviceError(
            "E_BACKEND_UNAVAILABLE",
            f"nothing here can run {bundle.path}",
            "no backend starts",
            "pip install 'allaprima[cpu]'",
        )
    failed = [f"{one.backend} {one.precision}" for one in ran if not one]
    if failed:
        raise QualityError(
            "E_GOLDEN",
            f"{bundle.path} does not paint here what its makers saw",
            f"{', '.join(failed)} outside the manifest's tolerance",
            "use another backend or precision, and report this with the output of `allaprima doctor --json`",
        )
    return 0
