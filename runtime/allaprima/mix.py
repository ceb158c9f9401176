"""Several styles in one picture: each by a share, or each where a picture says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .blend import blend
from .errors import UsageError
from .frame import Frame, Image
from .masks import PictureMask
from .pixels import resize
from .stylizer import Report, Stylizer

__all__ = ["Mixture", "Share", "parse_mix"]


@dataclass(frozen=True)
class Share:
    style: str
    weight: float | str = 1.0
    """A number above 0, or the path of a picture: where it is white the style has a share of 1, where black none."""


def parse_mix(text: str) -> list[Share]:
    """`starry:0.7,wave:0.3` or `starry:left.png,wave:right.png` -> shares, which need not add up to 1.

    Raises UsageError E_MIX.
    """
    shares = []
    for part in text.split(","):
        style, colon, weight = part.strip().rpartition(":")
        if not colon:
            style, weight = weight, "1"
        try:
            number = float(weight)
        except ValueError:
            shares.append(Share(style, weight))
            continue
        if not 0 < number < 1e6:
            raise UsageError(
                "E_MIX", f"cannot mix {part.strip()}", "a share is more than 0", "write starry:0.7,wave:0.3"
            )
        shares.append(Share(style, number))
    if len(shares) < 2 or not all(share.style for share in shares):
        raise UsageError(
            "E_MIX", f"cannot mix {text!r}", "it takes two styles or more", "write starry:0.7,wave:0.3"
        )
    return shares


class Mixture:
    """Paints with every style and mixes the paintings; costs as much as all of them. Used like a `Stylizer`."""

    def __init__(self, shares: Sequence[Share], open: Callable[[str], Stylizer]) -> None:
        """`open` opens a style by name. Raises what it raises, and InputError for weights that are no picture."""
        self._shares = list(shares)
        self._masks = [
            None if isinstance(share.weight, float) else PictureMask(Path(share.weight)) for share in shares
        ]
        self._stylizers: list[Stylizer] = []
        try:
            for share in shares:
                self._stylizers.append(open(share.style))
        except BaseException:
            self.close()
            raise

    def __call__(self, frame: Frame) -> Frame:
        image = frame.image
        painted = [stylizer.paint(image) for stylizer in self._stylizers]
        height, width = painted[0].shape[:2]
        mixed, sum_so_far = painted[0], self._weight(0, painted[0])
        for number, one in enumerate(painted[1:], 1):
            weight = self._weight(number, painted[0])
            whole = sum_so_far + weight
            share = np.divide(weight, whole, out=np.full_like(whole, 0.5), where=whole > 0)
            exact = share.size == 1
            mixed = blend(
                mixed,
                resize(one, width, height),
                float(share) if exact else np.round(share * 255).astype(np.uint8),
            )
            sum_so_far = whole
        return replace(frame, picture=mixed)

    def set(self, **values: float | Sequence[float]) -> None:
        """Turn controls of all styles. Raises as `Stylizer.set` does."""
        for stylizer in self._stylizers:
            stylizer.set(**values)

    @property
    def controls(self) -> dict[str, float | list[float]]:
        """Those that every style has, as the first one's are."""
        return {
            name: value
            for name, value in self._stylizers[0].controls.items()
            if all(name in stylizer.controls for stylizer in self._stylizers)
        }

    @property
    def report(self) -> Report:
        """The first style's, under the name of all of them."""
        reports = [stylizer.report for stylizer in self._stylizers]
        names = "+".join(report.style for report in reports)
        return replace(
            reports[0], style=names, degraded=[note for report in reports for note in report.degraded]
        )

    def reset(self) -> None:
        for stylizer in self._stylizers:
            stylizer.reset()

    def close(self) -> None:
        for stylizer in self._stylizers:
            stylizer.close()

    def _weight(self, number: int, image: Image) -> np.ndarray:
        """() or (H, W) float32, not below 0."""
        mask = self._masks[number]
        if mask is None:
            return np.asarray(self._shares[number].weight, np.float32)
        return mask(image).astype(np.float32) / 255  # white counts as much as the number 1
