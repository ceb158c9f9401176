"""TensorRT engines: list, verify, build ahead of time, prune.

  allaprima engines build starry --at 1280x720                  for the card that is here
  allaprima engines build starry --at 1280x720 --for ada        for any RTX 40 card, on any machine (TensorRT-RTX)
  allaprima engines build starry --range 640x360 1280x720 1920x1080
  allaprima engines list | verify | prune
  allaprima engines model starry --out starry-card.onnx         for trtexec, and for programs of your own

Engines lie in the user's cache (ALLAPRIMA_CACHE moves it) and are never shipped. docs/tensorrt.md says more.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..cuda import Gpu
    from ..engines import Cache, Entry, Request, Vendor
    from ..engines.ahead import Size
    from ..engines.audit import Audited

HELP = "list, verify, build and prune TensorRT engines"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, text in (
        ("list", "what is there, and what it is worth here"),
        (
            "verify",
            "read every engine and run the golden pair on those that are for this card; status 8 if one fails",
        ),
        ("prune", "remove what is worth nothing here any more, and what killed builds have left"),
        ("build", "build ahead of time, so that nothing has to wait later"),
        ("model", "write a style's ONNX file as TensorRT's parser takes it, for trtexec and other programs"),
    ):
        one = verbs.add_parser(verb, help=text, description=text)
        one.add_argument("--json", action="store_true", help="JSON on stdout")
        one.add_argument("--debug", action="store_true", help="on an error, show where it came from")
        if verb == "prune":
            one.add_argument("--all", action="store_true", dest="everything", help="every engine")
            one.add_argument(
                "--older-than", type=float, metavar="DAYS", help="also engines built before that"
            )
            one.add_argument("--dry-run", action="store_true", help="say what would go, and remove nothing")
        if verb == "build":
            _add_build_arguments(one)
        if verb == "model":
            one.add_argument("style", metavar="STYLE", help="a style's name or a .prima bundle")
            one.add_argument(
                "--variant", default="fp16", metavar="NAME", help="see allaprima info (default: fp16)"
            )
            one.add_argument("--out", required=True, metavar="FILE.onnx")
            one.add_argument("--overwrite", action="store_true", help="replace a file that exists")


def _add_build_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("style", metavar="STYLE", help="a style's name or a .prima bundle")
    sizes = parser.add_mutually_exclusive_group(required=True)
    sizes.add_argument(
        "--at", action="append", metavar="WxH", help="for frames of this size; may be repeated"
    )
    sizes.add_argument(
        "--range",
        nargs=3,
        metavar=("LEAST", "BEST", "MOST"),
        help="for all sizes in between; somewhat slower",
    )
    parser.add_argument(
        "--precision",
        metavar="NAME",
        help="fp16, fp32 or int8 (default: the first of these that the style has)",
    )
    parser.add_argument(
        "--for", action="append", dest="targets", metavar="CARD", default=[],
        help="turing, ampere, ada, blackwell or sm80...: RTX cards that are not here; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--flavour", choices=["standard", "rtx"], help="of TensorRT (default: what is installed)"
    )
    parser.add_argument(
        "--level", type=int, choices=range(6), default=3, metavar="0..5", help="how hard to try (default: 3)"
    )
    parser.add_argument(
        "--workspace",
        type=_mebibytes,
        default=0,
        metavar="MIB",
        help="scratch memory (default: all there is)",
    )
    parser.add_argument("--no-timing-cache", action="store_true", help="measure every kernel anew")
    parser.add_argument("--rebuild", action="store_true", help="also where there is one, or one that failed")


def run(args: argparse.Namespace) -> int:
    from ..engines import Cache

    verbs = {"list": _list, "verify": _verify, "prune": _prune, "build": _build}
    return _model(args) if args.verb == "model" else verbs[args.verb](args, Cache())


def _list(args: argparse.Namespace, cache: Cache) -> int:
    from ..engines.audit import Here, audit

    found = list(audit(cache, Here.found(), content=False))
    if args.json:
        print(json.dumps([_as_dict(one) for one in found], indent=2))
        return 0
    for one in found:
        entry = one.entry
        print(f"{one.state:<8} {entry.what}, {entry.key.line}: {entry.bytes / 1e6:.1f} MB, {one.why}")
    print(f"{len(found)} engine{'s' * (len(found) != 1)} in {cache.folder}")
    return 0


def _verify(args: argparse.Namespace, cache: Cache) -> int:
    from ..engines.audit import Here, audit
    from ..errors import QualityError

    results = []
    for one in audit(cache, Here.found()):
        failed = one.state in ("damaged", "refuted")
        text = one.why
        if one.state == "ok":
            failed, text = _run_here(one.entry, cache)
        results.append({**_as_dict(one), "why": text, "failed": failed})
        if not args.json:
            print(f"{'FAIL' if failed else one.state:<8} {one.entry.what}, {one.entry.key.line}: {text}")
    if args.json:
        print(json.dumps(results, indent=2))
    bad = [str(one["what"]) for one in results if one["failed"]]
    if bad:
        raise QualityError(
            "E_ENGINE_INVALID",
            f"{len(bad)} of {len(results)} engines are not what they should be",
            ", ".join(bad),
            "allaprima engines prune removes them; they are built again when they are needed",
        )
    return 0


def _run_here(entry: Entry, cache: Cache) -> tuple[bool, str]:
    """Load the engine and paint the golden pair, with the installed style that it was built from."""
    from .. import backends
    from ..bundle import Bundle, styles
    from ..engines import FLAVOURS
    from ..engines.ahead import sample_for
    from ..errors import AllaPrimaError

    for path in styles().values():
        bundle = Bundle.open(path)
        by_hash = {
            bundle.manifest.files[variant.file].sha256: variant for variant in bundle.manifest.variants
        }
        if entry.key.model_sha256 not in by_hash:
            continue
        word = next(flavour.word for flavour in FLAVOURS.values() if flavour.module == entry.key.flavour)
        height, width = next(one.best[1:3] for one in entry.key.shapes.values() if len(one.best) == 4)
        sample = sample_for(bundle, by_hash[entry.key.model_sha256], (height, width))
        cache.prove(entry, None)
        try:
            started = backends.start(
                bundle, sample, name=f"tensorrt:{word}", precision=entry.key.precision, build=False
            )
        except AllaPrimaError as error:
            return True, error.why
        started.backend.close()
        return False, f"paints the golden pair ({started.line})"
    return (
        False,
        f"{'proven' if entry.proof else 'not proven'}; no installed style has exactly its model, so it was not run",
    )


def _prune(args: argparse.Namespace, cache: Cache) -> int:
    from ..engines.audit import Here, prune

    gone, files = prune(
        cache, Here.found(), everything=args.everything, older_than_days=args.older_than, dry=args.dry_run
    )
    if args.json:
        named = [{"what": entry.what, "digest": entry.key.digest, "bytes": entry.bytes} for entry in gone]
        print(json.dumps({"engines": named, "files": [file.name for file in files]}, indent=2))
        return 0
    for entry in gone:
        print(f"{entry.what}, {entry.key.line}: {entry.bytes / 1e6:.1f} MB")
    for file in files:
        print(file.name)
    verb = "would go" if args.dry_run else "removed"
    print(f"{len(gone)} engine{'s' * (len(gone) != 1)} and {len(files)} other files {verb} in {cache.folder}")
    return 0


def _build(args: argparse.Namespace, cache: Cache) -> int:
    from ..engines import build_apart, load_flavour
    from .job import build_told, tell

    vendor = load_flavour(args.flavour or ("rtx" if args.targets else None))
    entries = []
    for request in _requests(args, vendor):
        known = cache.find(request.key) if args.rebuild else None
        if known is not None:
            cache.remove(known.key)
        entry = build_apart(request, cache, build_told() if not args.json else lambda now: None)
        entries.append(entry)
        if not args.json:
            tell(f"{entry.what}, {entry.key.line}: {entry.bytes / 1e6:.1f} MB in {entry.seconds:.1f} s")
    if args.json:
        print(json.dumps([{"what": one.what, "digest": one.key.digest, "line": one.key.line, "bytes": one.bytes,
                           "seconds": one.seconds} for one in entries], indent=2))  # fmt: skip
    return 0


def _model(args: argparse.Namespace) -> int:
    from ..bundle import Bundle, find_style
    from ..files import Draft
    from ..onnx_floats import floats_inside

    bundle = Bundle.open(find_style(args.style))
    data = floats_inside(bundle.read(bundle.variant(args.variant).file))
    draft = Draft(args.out, overwrite=args.overwrite)
    try:
        draft.temp.write_bytes(data)
        draft.commit()
    finally:
        draft.discard()
    print(json.dumps({"path": args.out, "bytes": len(data)}) if args.json else f"wrote {args.out}")
    return 0


def _requests(args: argparse.Namespace, vendor: Vendor) -> list[Request]:
    from ..bundle import Bundle, find_style
    from ..engines import Options
    from ..engines.ahead import requests
    from ..engines.flavour import target_of

    return requests(
        Bundle.open(find_style(args.style)),
        vendor,
        sizes=[_size(text) for text in args.at or []],
        span=_span(args.range) if args.range else None,
        precision=args.precision,
        cards=[target_of(word, vendor) for word in args.targets] or [_card_here(vendor)],
        options=Options(
            level=args.level, workspace_mib=args.workspace, timing_cache=not args.no_timing_cache
        ),
    )


def _card_here(vendor: Vendor) -> Gpu:
    """DeviceError E_BACKEND_UNAVAILABLE, with the way around it where there is one."""
    from ..cuda import find_gpu
    from ..errors import DeviceError

    try:
        return find_gpu()
    except DeviceError as error:
        if not vendor.targets:
            raise
        next = f"name the card that it is for, as in --for ada; or {error.next}"
        raise DeviceError(error.code, error.what, error.why, next) from error


def _span(texts: list[str]) -> tuple[Size, Size, Size]:
    from ..errors import UsageError

    least, best, most = (_size(text) for text in texts)
    if not all(a <= b <= c for a, b, c in zip(least, best, most, strict=True)):
        raise UsageError(
            "E_USAGE",
            f"cannot read --range {' '.join(texts)}",
            "width and height have to grow from the first to the last",
            "write --range 640x360 1280x720 1920x1080",
        )
    return least, best, most


def _mebibytes(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of MiB")
    return int(text)


def _size(text: str) -> Size:
    """`1280x720` -> (720, 1280): height and width."""
    from .job import wanted_size

    size = wanted_size(text, "--at or --range")
    assert size is not None
    return size[1], size[0]


def _as_dict(one: Audited) -> dict[str, Any]:
    from .. import settings

    entry = settings.write(one.entry)
    return {**entry, "digest": one.entry.key.digest, "state": one.state, "why": one.why}
