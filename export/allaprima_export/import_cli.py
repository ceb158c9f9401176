"""`allaprima import model.onnx`: somebody else's style network as a bundle.

What the network expects (channels first or last, numbers from 0 to 255 or -1 to 1, RGB or BGR, which sizes) is tried
out and proposed; you confirm it by --yes, at the question, or by giving --layout, --range and --color yourself.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allaprima.errors import UsageError

if TYPE_CHECKING:
    from .importing import Imported
    from .probe import Proposal

HELP = "make a bundle of somebody else's style network (ONNX)"
EXTRA = "export"

CONFIRM = ("layout", "range", "output_range", "color")
"""What statistics can only propose; sizes are measured."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL.onnx")
    expects = parser.add_argument_group("what the network expects (what is not given is tried out)")
    expects.add_argument("--layout", choices=["nchw", "nhwc"], help="channels first or last")
    expects.add_argument(
        "--range",
        metavar="RANGE",
        help="of its input: 0..255, 0..1, =-1..1 (with the sign: --range=-1..1), imagenet",
    )
    expects.add_argument("--output-range", metavar="RANGE", help="of its answer (default: as --range)")
    expects.add_argument("--color", choices=["rgb", "bgr"], help="order of the channels, in and out")
    expects.add_argument(
        "--multiple-of", type=int, metavar="N", help="height and width have to be multiples of this"
    )
    parser.add_argument("--yes", action="store_true", help="accept what is proposed")
    parser.add_argument(
        "--sheet",
        type=Path,
        metavar="FILE.png",
        help="pictures beside their paintings as rgb and bgr, to look at; no bundle",
    )
    parser.add_argument(
        "--out", type=Path, metavar="NAME.prima", help="the bundle (default: the model's name, here)"
    )
    parser.add_argument("--zip", action="store_true", dest="as_zip", help="one file instead of a folder")
    parser.add_argument(
        "--variants", type=_words, default=["fp32", "fp16"], metavar="LIST", help="fp32,fp16 (default: both)"
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="FOLDER",
        help="photographs to try it out and compare it on (default: the demo's)",
    )
    stated = parser.add_argument_group("what you know of it (what is left out, the bundle calls not stated)")
    for option, metavar, help in (
        ("title", "TEXT", "what users read"),
        ("network", "TEXT", "architecture, makers, where it is from"),
        ("licence", "SPDX", "licence of the weights: Apache-2.0, CC-BY-NC-SA-4.0, ..."),
        ("style", "TEXT", "the style's pictures: artist, title, year"),
        ("style-terms", "TEXT", "their terms"),
        ("content", "TEXT", "the photographs that it was trained on"),
        ("content-terms", "TEXT", "their terms"),
        ("notes", "TEXT", "anything else"),
    ):
        stated.add_argument(f"--{option}", metavar=metavar, help=help)
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that exists")
    parser.add_argument("--json", action="store_true", help="the result as one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    from .importing import Terms, import_network
    from .probe import propose

    given = {
        name: getattr(args, name) for name in (*CONFIRM, "multiple_of") if getattr(args, name) is not None
    }
    if "range" in given and given["range"] != "imagenet":
        given.setdefault("output_range", given["range"])
    _require_ranges(given)
    pictures = _pictures(args.pictures)
    _tell("trying out what it expects ...")
    proposal = propose(args.model, given, pictures)
    if args.sheet is not None:
        return _write_sheet(args, proposal, pictures)
    _confirm(args, proposal)
    imported = import_network(
        args.model,
        proposal.convention,
        args.out,
        terms=Terms(**_stated(args)),
        variants=args.variants,
        pictures=pictures,
        as_zip=args.as_zip,
        overwrite=args.overwrite,
        on_stage=lambda stage: _tell(f"{stage} ..."),
    )
    print(json.dumps(_as_dict(imported, proposal)) if args.json else _report(imported))
    return 0


def _confirm(args: argparse.Namespace, proposal: Proposal) -> None:
    """Raises UsageError E_IMPORT_CONFIRM where a proposal is not accepted."""
    open_ = [name for name in CONFIRM if proposal.findings[name].sure not in ("given", "certain")]
    for name, found in proposal.findings.items():
        _tell(f"  {name.replace('_', ' '):<13} {_shown(found.value):<9} {found.sure}: {found.why}")
    if not open_ or args.yes:
        return
    if sys.stdin.isatty() and not args.json:
        _tell("Look at the paintings first: --sheet look.png")
        print("Import it so? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
    raise UsageError(
        "E_IMPORT_CONFIRM",
        f"{args.model} is not imported yet",
        f"{', '.join(open_)} can only be guessed from outside",
        f"if the proposal is right: {_command(args, proposal)}; to see it: the same with --sheet look.png",
    )


def _command(args: argparse.Namespace, proposal: Proposal) -> str:
    """The command that needs no question."""
    words = ["allaprima", "import", shlex.quote(str(args.model))]
    for name in CONFIRM:
        words.append(f"--{name.replace('_', '-')}={proposal.findings[name].value}")
    others = {name: getattr(args, name) for name in ("out", "pictures", "multiple_of", *_stated(args))}
    words += [
        f"--{name.replace('_', '-')}={shlex.quote(str(value))}"
        for name, value in others.items()
        if value is not None
    ]
    return " ".join(
        [*words, *(["--zip"] if args.as_zip else []), *(["--overwrite"] if args.overwrite else [])]
    )


def _stated(args: argparse.Namespace) -> dict[str, str]:
    """What was said of the network, by the names of Terms."""
    from .importing import Terms

    named = {field.name: getattr(args, field.name) for field in fields(Terms)}
    return {name: text for name, text in named.items() if text is not None}


def _write_sheet(args: argparse.Namespace, proposal: Proposal, pictures: list[Path]) -> int:
    from allaprima.frame import Frame
    from allaprima.sinks import open_sink

    from .importing import sheet

    with open_sink(args.sheet, overwrite=args.overwrite) as sink:
        sink.put(Frame(sheet(args.model, proposal.convention, pictures)))
    for name, found in proposal.findings.items():
        _tell(f"  {name.replace('_', ' '):<13} {_shown(found.value):<9} {found.sure}: {found.why}")
    print(f"{args.sheet}: each picture, its painting as rgb, as bgr; proposed: {_command(args, proposal)}")
    return 0


def _require_ranges(given: dict[str, Any]) -> None:
    from allaprima.settings import nearest

    from .foreign import RANGES

    for name in ("range", "output_range"):
        if name in given and given[name] not in RANGES:
            raise UsageError(
                "E_USAGE",
                f"there is no range {given[name]!r}{nearest(given[name], RANGES)}",
                next=f"choose one of {', '.join(RANGES)}",
            )


def _pictures(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    from .parity import given_pictures

    return given_pictures(folder)[:12]


def _report(imported: Imported) -> str:
    rows = [
        *((name, one.line) for name, one in imported.judged.items()),
        *((f"openvino {name}", str(getattr(one, "line", one))) for name, one in imported.elsewhere.items()),
        *(("golden", f"{'ok' if one else 'not run'}: {one.line}") for one in imported.checked),
        *((f"no {name}", why) for name, why in imported.dropped.items()),
    ]
    licence = imported.manifest.licence
    if "not stated" in (licence.weights, licence.style):
        rows.append(("note", "its licence or its style's terms were not stated: --licence, --style-terms"))
    size = sum(record.bytes for record in imported.manifest.files.values())
    lines = [f"{name:>15}  {text}" for name, text in rows]
    return "\n".join([*lines, f"wrote {imported.path} ({size / 1e6:.2f} MB)"])


def _as_dict(imported: Imported, proposal: Proposal) -> dict[str, object]:
    from allaprima import settings

    return {
        "path": str(imported.path),
        "expects": {name: settings.write(found) for name, found in proposal.findings.items()},
        "variants": settings.write(imported.judged),
        "dropped": imported.dropped,
        "openvino": settings.write(imported.elsewhere),
        "golden": [
            {"backend": one.backend, "precision": one.precision, "ran": one.ran} for one in imported.checked
        ],
    }


def _shown(value: Any) -> str:
    return "x".join(str(side) for side in value) if isinstance(value, list) else str(value).lower()


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
