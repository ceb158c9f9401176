"""What does a stranger's network expect? Tried out on real pictures, with how sure the answer is and why.

    layout       from the shapes that the file declares, or from what runs
    multiple_of  sizes that are odd multiples of 1, 2, 4, ...: the first whose answers have the picture's size
    range        a photograph in every range; the painting has to come out bright where the photograph is
    color        both orders, on several pictures: the one whose paintings keep more of the photographs' colours

It runs in a process of its own, with limits of memory and time (`propose`), because a graph of a hundred bytes can
ask for a terabyte. What a painting's palette hides no statistics find: order and range stay a proposal.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from allaprima import settings
from allaprima.demo import PHOTOGRAPH
from allaprima.errors import AllaPrimaError, BundleError, InputError
from allaprima.frame import Image
from allaprima.pixels import resize
from allaprima.sources.pictures import PictureSource

from .foreign import COLORS, RANGES, Bare, Convention, Stranger, from_numbers, read_stranger, to_numbers

__all__ = ["Finding", "Proposal", "propose"]

MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
MINIMA = (16, 32, 64, 128, 256)
SIDE = 256  # of the pictures that ranges and orders are tried on
ENOUGH = 4  # pictures, for an opinion on the order of colours: one has an orange suit, the next a blue sky
MEMORY_BYTES = 12 << 30
TIME_S = 300


@dataclass(frozen=True)
class Finding:
    value: Any
    sure: Literal["certain", "likely", "a guess", "given"]
    why: str


@dataclass(frozen=True)
class Proposal:
    """What was found out, by the name of each setting of `Convention`; besides, `fixed` ([height, width] or None)."""

    findings: dict[str, Finding]

    @property
    def convention(self) -> Convention:
        values = {name: found.value for name, found in self.findings.items() if name != "fixed"}
        return settings.read(Convention, values, "the proposal")

    @property
    def fixed(self) -> tuple[int, int] | None:
        size = self.findings["fixed"].value
        return (size[0], size[1]) if size else None


def propose(path: Path, given: Mapping[str, Any], pictures: Sequence[Path] = ()) -> Proposal:
    """Try the model at `path` out. `given` are settings of `Convention` that are known; they are taken as they are.

    Raises what `read_stranger` raises, InputError for a picture that cannot be read, and BundleError E_IMPORT_RUN for
    a network that does not run, takes no size that was tried, or needs more than MEMORY_BYTES or TIME_S.
    """
    read_stranger(path)  # here first: a file that is refused needs no process
    asked = json.dumps({"path": str(path), "given": dict(given), "pictures": [str(one) for one in pictures]})
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__],
            input=asked,
            capture_output=True,
            text=True,
            timeout=TIME_S,
        )
    except subprocess.TimeoutExpired:
        raise _cannot_run(path, f"trying it out took more than {TIME_S} s") from None
    try:
        said = json.loads(done.stdout)
    except ValueError:  # killed, or out of memory in a way that nobody could catch
        last = (done.stderr.strip().splitlines() or [f"its process ended with {done.returncode}"])[-1]
        raise _cannot_run(
            path, f"trying it out failed within {MEMORY_BYTES >> 30} GiB of memory: {last}"
        ) from None
    if "unreadable" in said:
        raise InputError(**said["unreadable"])
    if "error" in said:
        raise _cannot_run(path, said["error"])
    return Proposal({name: settings.read(Finding, found, "probe") for name, found in said.items()})


def main() -> None:
    """The process of its own: JSON in from stdin, findings or an error as JSON out to stdout."""
    asked = json.load(sys.stdin)
    _limit()
    try:
        findings = _probe(read_stranger(Path(asked["path"])), asked["given"], asked["pictures"])
        said: dict[str, Any] = {name: settings.write(found) for name, found in findings.items()}
    except InputError as error:  # a picture's: the network has been read before
        said = {"unreadable": {part: getattr(error, part) for part in ("code", "what", "why", "next")}}
    except AllaPrimaError as error:
        said = {"error": error.why or error.what}
    except Exception as error:  # a vendor raises anything; its words are the reason
        said = {"error": _first_line(error)}
    json.dump(said, sys.stdout)


def _limit() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows; a limit that is lower already
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _probe(stranger: Stranger, given: Mapping[str, Any], pictures: Sequence[str]) -> dict[str, Finding]:
    bare = Bare(stranger)
    findings = {name: Finding(value, "given", "as you say") for name, value in given.items()}
    photos = [_photo(Path(picture)) for picture in (pictures or [str(PHOTOGRAPH)])]
    if "layout" not in findings:
        findings["layout"] = _layout(stranger, bare)
    layout = findings["layout"].value
    start = Convention(layout=layout, range="0..255", output_range="0..255", color="rgb")
    fixed = stranger.fixed(layout)
    findings |= _sizes(bare, start, fixed, photos[0], given)
    multiple = findings["multiple_of"].value
    photos = [
        resize(
            photo, *(fixed[::-1] if fixed else (_up(photo.shape[1], multiple), _up(photo.shape[0], multiple)))
        )
        for photo in photos
    ]
    dark = [
        photo // 3 for photo in photos
    ]  # in a range that is not the network's, they would not come back dark
    findings |= _ranges(bare, start, [*photos, *dark], findings)
    if "color" not in findings:
        ranged = replace(start, range=findings["range"].value, output_range=findings["output_range"].value)
        findings["color"] = _color(bare, ranged, photos)
    return findings


def _layout(stranger: Stranger, bare: Bare) -> Finding:
    if len(stranger.layouts) == 1:
        return Finding(stranger.layouts[0], "certain", f"its input has the shape {list(stranger.shape)}")
    reasons = []
    for layout in stranger.layouts:  # no size is declared: what runs decides
        shape = (1, 3, 128, 128) if layout == "nchw" else (1, 128, 128, 3)
        try:
            answer = bare.run(np.zeros(shape, np.float32))
        except Exception as error:  # as in main
            reasons.append(f"{layout}: {_first_line(error)}")
            continue
        if answer.ndim == 4 and answer.shape[1 if layout == "nchw" else 3] == 3:
            return Finding(layout, "certain", "it runs so, and not the other way round")
        reasons.append(f"{layout}: it answers {list(answer.shape)}")
    raise ValueError("; ".join(reasons))


def _sizes(
    bare: Bare, start: Convention, fixed: tuple[int, int] | None, photo: Image, given: Mapping[str, Any]
) -> dict[str, Finding]:
    """multiple_of, minimum, scale and fixed."""
    if fixed:
        scale = _scale(bare, start, photo, *fixed)
        return {
            "multiple_of": Finding(1, "certain", "its size is fixed"),
            "minimum": Finding(16, "certain", "its size is fixed"),
            "scale": Finding(scale, "certain", "its answer's size over the picture's"),
            "fixed": Finding(list(fixed), "certain", "its input declares this size"),
        }
    failed: list[str] = []
    for multiple in [given["multiple_of"]] if "multiple_of" in given else MULTIPLES:
        odd = [multiple * (number // multiple // 2 * 2 + 1) for number in (130, 98, 74)]
        try:
            scales = {_scale(bare, start, photo, high, wide) for high, wide in (odd[:2], odd[1:], odd[::-2])}
        except Exception as error:  # as in main
            failed.append(f"{odd[1]}x{odd[0]}: {_first_line(error)}")
            continue
        if len(scales) > 1:
            failed.append(f"{odd[1]}x{odd[0]}: no constant scale, {sorted(scales)}")
            continue
        why = f"{odd[1]}x{odd[0]} comes back in its own size"
        if failed:
            why += f"; not so {failed[-1]}"
        return {
            "multiple_of": Finding(multiple, "given" if "multiple_of" in given else "certain", why),
            "minimum": Finding(*_minimum(bare, start, photo, multiple)),
            "scale": Finding(scales.pop(), "certain", "its answer's size over the picture's"),
            "fixed": Finding(None, "certain", "its input leaves height and width open"),
        }
    raise ValueError(f"no size that was tried works: {'; '.join(failed[-2:])}")


def _minimum(
    bare: Bare, start: Convention, photo: Image, multiple: int
) -> tuple[int, Literal["certain"], str]:
    for side in MINIMA:
        try:
            _scale(bare, start, photo, _up(side, multiple), _up(side, multiple))
        except Exception:  # too small for its padding; the next one may not be
            continue
        return side, "certain", f"{_up(side, multiple)}x{_up(side, multiple)} runs"
    raise ValueError(f"it runs on no picture of {MINIMA[-1]} pixels or less")


def _scale(bare: Bare, start: Convention, photo: Image, height: int, width: int) -> int:
    """The answer's size over the picture's; ValueError where that is not one whole number."""
    answer = bare.run(to_numbers(resize(photo, width, height), start))
    rest = answer.shape[2:] if start.layout == "nchw" else answer.shape[1:3]
    channels = answer.shape[1 if start.layout == "nchw" else -1]
    scale = rest[0] // height if answer.ndim == 4 else 0
    if answer.ndim != 4 or channels != 3 or scale < 1 or rest != (scale * height, scale * width):
        raise ValueError(f"it answers {list(answer.shape)}")
    return scale


def _ranges(
    bare: Bare, start: Convention, photos: Sequence[Image], findings: Mapping[str, Finding]
) -> dict[str, Finding]:
    """range and output_range: how far the painting's brightness is from the photograph's, under each pair."""
    inputs = [findings["range"].value] if "range" in findings else list(RANGES)
    outputs = [findings["output_range"].value] if "output_range" in findings else [*RANGES][:3]
    distance: dict[tuple[str, str], float] = {}
    extremes: dict[str, tuple[float, float]] = {}
    for one in inputs:
        answers = [bare.run(to_numbers(photo, replace(start, range=one))) for photo in photos]
        if not all(np.isfinite(answer).all() for answer in answers):
            continue
        extremes[one] = min(float(a.min()) for a in answers), max(float(a.max()) for a in answers)
        for other in outputs:
            said = replace(start, output_range=other)
            distance[one, other] = float(
                np.mean([_unlike(from_numbers(a, said), p) for a, p in zip(answers, photos, strict=True)])
            )
            if one != other:  # networks mostly answer in the numbers that they were given
                distance[one, other] *= 1.25
    if not distance:
        raise ValueError("its answers are not finite, in whatever range the picture is given")
    best = min(distance, key=lambda pair: (round(distance[pair], 1), inputs.index(pair[0])))
    low, high = extremes[best[0]]
    near = min((value for pair, value in distance.items() if pair[1] != best[1]), default=np.inf)
    sure: Literal["likely", "a guess"] = "likely" if near > 1.3 * distance[best] else "a guess"
    found = {
        "output_range": Finding(best[1], sure, f"a photograph comes back as {low:.3g} to {high:.3g}"),
        "range": _range(best, distance),
    }
    return {name: one for name, one in found.items() if name not in findings}


def _range(best: tuple[str, str], distance: Mapping[tuple[str, str], float]) -> Finding:
    others = {pair[0]: value for pair, value in distance.items() if pair[1] == best[1] and pair[0] != best[0]}
    same = [name for name, value in others.items() if value / distance[best] < 1.26]
    if len(same) == len(others) and others:
        why = (
            "every range gives about the same painting, as its first layer is normalised; so the answer's own"
        )
        return Finding(best[0], "likely", why)
    if others:
        rival = min(others, key=lambda name: others[name])
        why = (
            f"the painting is {distance[best]:.0f} grey levels from the photograph; "
            f"with {rival} it would be {others[rival]:.0f}"
        )
        return Finding(best[0], "likely" if others[rival] > 1.3 * distance[best] else "a guess", why)
    return Finding(best[0], "a guess", "the only one that gives numbers")


def _unlike(painted: NDArray[np.float32], photo: Image) -> float:
    """Grey levels that a painting lies away from the photograph, and three times those beyond 0..255, on the mean."""
    shown = np.clip(painted, 0, 255)
    photo = resize(photo, painted.shape[1], painted.shape[0])
    return float(3 * np.abs(painted - shown).mean() + np.abs(shown - photo).mean())


def _color(bare: Bare, ranged: Convention, photos: Sequence[Image]) -> Finding:
    """rgb or bgr: how much of the photographs' colour, brightness left out, is in the painting."""
    if len(photos) < ENOUGH:
        return Finding(
            "rgb", "a guess", f"most are; --pictures FOLDER with {ENOUGH} photographs can tell more"
        )
    kept = {}
    for color in COLORS:
        said = replace(ranged, color=color)  # type: ignore[arg-type]
        kept[color] = float(
            np.mean([_colour_kept(from_numbers(bare.run(to_numbers(p, said)), said), p) for p in photos])
        )
    rgb, bgr = kept["rgb"], kept["bgr"]
    figures = f"correlation of colours with the photograph's: {rgb:.2f} as rgb, {bgr:.2f} as bgr"
    if max(rgb, bgr) < 0.75:
        return Finding("rgb", "a guess", f"most are; this one has a palette of its own ({figures})")
    if abs(rgb - bgr) < 0.02:
        return Finding("rgb", "a guess", f"most are; it paints alike either way ({figures})")
    return Finding("rgb" if rgb > bgr else "bgr", "a guess", f"{figures}; look at the paintings to be sure")


def _colour_kept(painted: NDArray[np.float32], photo: Image) -> float:
    """Mean correlation of red and blue, each minus the grey of its pixel."""
    ours, theirs = np.clip(painted, 0, 255), resize(photo, painted.shape[1], painted.shape[0])
    found = []
    for channel in (0, 2):
        pair = [image[..., channel] - image.mean(axis=2) for image in (ours, theirs.astype(np.float32))]
        found.append(np.corrcoef(pair[0].ravel(), pair[1].ravel())[0, 1] if np.ptp(pair[0]) > 0 else 0.0)
    return float(np.mean(found))


def _photo(path: Path) -> Image:
    """A picture with its short side at SIDE pixels."""
    image = next(iter(PictureSource(path))).image
    factor = SIDE / min(image.shape[:2])
    return resize(image, max(SIDE, round(image.shape[1] * factor)), max(SIDE, round(image.shape[0] * factor)))


def _up(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple


def _cannot_run(path: Path, why: str) -> BundleError:
    return BundleError(
        "E_IMPORT_RUN", f"cannot import {path}", why, "check that this network runs where it is from"
    )


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__


if __name__ == "__main__":
    main()
