"""Every error a user can meet, with its code and the exit status of the `allaprima` command.

    AllaPrimaError            1   a bug if it is ever raised as such
    ├── UsageError            2   a command, setting, style or recipe key that does not exist
    ├── InputError            3   something to read that is missing, damaged or not what its name says
    ├── OutputError           4   something that cannot be written: exists, no room, no permission
    ├── BatchError            5   a batch that finished, with some items failed
    ├── DeviceError           6   a camera, display, backend or precision that is not to be had here
    ├── RunError              7   a failure while running: encoder, decoder, model, memory
    ├── QualityError          8   a measured gate that does not hold: parity, golden pair, NaN
    └── BundleError           9   a bundle or model that is invalid, changed or not to be trusted

An error is raised with three parts, *what* happened to which file, *why*, and what to do *next*;
the library never prints and never exits. docs/errors.md lists the codes.
"""

from __future__ import annotations

__all__ = [
    "AllaPrimaError",
    "BatchError",
    "BundleError",
    "DeviceError",
    "InputError",
    "OutputError",
    "QualityError",
    "RunError",
    "UsageError",
]


class AllaPrimaError(Exception):
    """Base of the tree. `str(error)` is the one line a user reads: `what - why - next`."""

    exit_status = 1

    def __init__(self, code: str, what: str, why: str = "", next: str = "") -> None:
        self.code = code  # E_..., stable, listed in docs/errors.md
        self.what = what
        self.why = why
        self.next = next
        super().__init__(" - ".join(part for part in (what, why, next) if part))

    def as_dict(self) -> dict[str, object]:
        """The same error for `--json`."""
        return {
            "code": self.code,
            "what": self.what,
            "why": self.why,
            "next": self.next,
            "exit_status": self.exit_status,
        }


class UsageError(AllaPrimaError):
    exit_status = 2


class InputError(AllaPrimaError):
    exit_status = 3


class OutputError(AllaPrimaError):
    exit_status = 4


class BatchError(AllaPrimaError):
    exit_status = 5


class DeviceError(AllaPrimaError):
    exit_status = 6


class RunError(AllaPrimaError):
    exit_status = 7


class QualityError(AllaPrimaError):
    exit_status = 8


class BundleError(AllaPrimaError):
    exit_status = 9
