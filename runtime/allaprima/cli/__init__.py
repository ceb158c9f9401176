"""The `allaprima` command. Its subcommands are entry points of the group `allaprima.commands`.

A subcommand is a module with `HELP`, `add_arguments(parser)` and `run(args) -> exit status`, cheap to import:
what is heavy is imported in `run`. So `allaprima train` can live in its own package, `--help` is quick, and
a command whose extra is not installed can still say which one it needs.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from types import FrameType, ModuleType
from typing import NoReturn

from ..errors import AllaPrimaError, DeviceError, UsageError

__all__ = ["main"]

# First what most people type. A subcommand that is not named here comes after them.
ORDER = [
    "demo",
    "run",
    "live",
    "panorama",
    "compare",
    "styles",
    "cameras",
    "doctor",
    "check",
    "bench",
    "info",
    "train",
    "export",
    "import",
    "compress",
]

EXAMPLES = """\
examples:
  allaprima demo                                   paint a short scene: no camera, file or network needed
  allaprima run holiday.mp4 --style starry --out painted.mp4
  allaprima run portrait.jpg --style starry --out portrait-starry.png --strength 0.7
  allaprima live                                   the first camera, in a window; h shows the keys
  allaprima train recipes/starry.toml              then: allaprima export runs/starry

exit status: 0 done, 2 usage, 3 input, 4 output, 5 some of a batch failed, 6 device or backend not available,
7 failed while running, 8 a quality gate failed, 9 bundle not valid, 130/143 interrupted, 1 a bug of ours
"""


class Parser(argparse.ArgumentParser):
    """argparse whose errors are ours: one line with a code, as an object with `--json`."""

    def error(self, message: str) -> NoReturn:
        raise UsageError("E_USAGE", f"{self.prog}: {message}", next=f"see {self.prog} --help")


class Terminated(KeyboardInterrupt):
    """SIGTERM: everything cleans up, and keeps what is painted, as for Ctrl-C."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; the exit status. The console script's only entry."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, _terminate)
    debug, as_json = "--debug" in arguments, "--json" in arguments
    try:
        parser = _parser(arguments)
        args, stray = parser.parse_known_args(arguments)
        if stray:
            raise _unrecognized(stray, args.asked or parser)
        if args.module is None:
            parser.print_help()
            return 2
        return int(_run(args.module, args))
    except AllaPrimaError as error:
        if debug:
            raise
        _tell(error, as_json)
        return error.exit_status
    except KeyboardInterrupt as interrupt:
        status = 143 if isinstance(interrupt, Terminated) else 130
        if as_json:
            print(json.dumps({"error": {"code": "E_INTERRUPTED", "exit_status": status}}))
        print("interrupted", file=sys.stderr)
        return status
    except BrokenPipeError:  # `allaprima styles | head`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        bug = AllaPrimaError(
            "E_BUG",
            f"unexpected {type(error).__name__}",
            str(error),
            "this is a fault of allaprima: run again with --debug and report what it prints",
        )
        _tell(bug, as_json)
        return bug.exit_status


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    from .. import __version__

    parser = Parser(
        prog="allaprima",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Paint pictures, video files and live cameras with neural styles.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"allaprima {__version__}")
    parser.set_defaults(module=None, asked=None)
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    commands = _commands()
    asked = next((word for word in arguments if not word.startswith("-")), None)
    if asked is not None and asked not in commands:
        from ..settings import nearest

        raise UsageError(
            "E_USAGE", f"there is no command {asked!r}{nearest(asked, commands)}", next="see allaprima --help"
        )
    for name, entry in commands.items():
        module = entry.load()
        sub = subparsers.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if name == asked:
            module.add_arguments(sub)
            sub.add_argument("--debug", action="store_true", help="on an error, show where it came from")
            sub.set_defaults(module=module, asked=sub)
    return parser


def _unrecognized(words: Sequence[str], parser: argparse.ArgumentParser) -> UsageError:
    from ..settings import nearest

    options = [option for option in parser._option_string_actions if option.startswith("--")]
    given = words[0].partition("=")[0]
    meant = nearest(given, options) if given.startswith("-") else ""
    what = f"{parser.prog}: unrecognized arguments: {' '.join(words)}{meant}"
    return UsageError("E_USAGE", what, next=f"see {parser.prog} --help")


def _commands() -> dict[str, EntryPoint]:
    found = {entry.name: entry for entry in entry_points(group="allaprima.commands")}
    place = {name: number for number, name in enumerate(ORDER)}
    return dict(sorted(found.items(), key=lambda item: (place.get(item[0], len(ORDER)), item[0])))


def _run(module: ModuleType, args: argparse.Namespace) -> int:
    extra = getattr(module, "EXTRA", None)
    try:
        return int(module.run(args))
    except ModuleNotFoundError as error:
        if extra is None or (error.name or "").startswith("allaprima"):
            raise
        raise DeviceError(
            "E_EXTRA_MISSING",
            f"this command needs {error.name}",
            "it is not installed",
            f"pip install 'allaprima[{extra}]'",
        ) from None


def _tell(error: AllaPrimaError, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": error.as_dict()}))
    from .job import tell

    tell(f"error[{error.code}]: {error}")


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
