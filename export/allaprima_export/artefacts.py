"""Two faults of painting networks that no loss shows and every eye sees, measured: the grid and the border.

A network that ends in a pixel shuffle can leave a pattern with the shuffle's period; one with zero padding
knows where the border is and can paint a band along it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from allaprima.frame import Image

__all__ = ["BORDER_LIMIT", "GRID_LIMIT_DB", "SMALLEST", "Border", "Grid", "border", "grid"]

GRID_LIMIT_DB = 1.0
BORDER_LIMIT = 0.10
SMALLEST = 160
"""Pictures whose height or width is less are too small to measure on."""

_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Grid:
    """Truthy when the painting has no more of a grid than the picture had."""

    excess_db: float
    """Energy at the grid's frequencies over that of their neighbours: painting minus picture, in dB."""
    worst_db: float
    """The same at the one frequency where it is largest. Single frequencies scatter by 1 to 2 dB."""
    worst: tuple[int, int]
    """That frequency: cycles per period down and across."""
    period: int

    def __bool__(self) -> bool:
        return self.excess_db <= GRID_LIMIT_DB

    @property
    def line(self) -> str:
        return (
            f"{self.excess_db:+.2f} dB at period {self.period} (limit {GRID_LIMIT_DB:+.0f}); worst "
            f"{self.worst_db:+.1f} dB at {self.worst[0]}/{self.period} down, {self.worst[1]}/{self.period} across"
        )


def grid(pairs: Iterable[tuple[Image, Image]], period: int) -> Grid:
    """Measure (picture, painting) pairs of uint8 (H, W, 3), each at least SMALLEST pixels high and wide.

    What repeats every `period` pixels has its whole energy at the frequencies (k/period, l/period) of the
    luminance's DFT, which are exact bins when the sides are multiples of the period. Each is divided by the
    mean of its neighbours two to five bins away, because strokes raise the whole spectrum and only a grid
    raises single lines out of it. A Hann window keeps the picture's own borders from leaking into the bins.
    """
    before, after = zip(
        *[(_lines(image, period), _lines(painted, period)) for image, painted in pairs], strict=True
    )
    rise = 10 * np.log10(np.mean(after, axis=0) / np.mean(before, axis=0))  # (period, period) dB
    rise[0, 0] = -np.inf  # the mean brightness is no grid
    down, across = divmod(int(np.argmax(rise)), period)
    lines = ~np.eye(1, period * period, dtype=bool).reshape(period, period)  # all but (0, 0)
    excess = 10 * np.log10(np.mean(after, axis=0)[lines].mean() / np.mean(before, axis=0)[lines].mean())
    return Grid(float(excess), float(rise[down, across]), (down, across), period)


def _lines(image: Image, period: int) -> NDArray[np.float64]:
    """(period, period): energy at (k/period, l/period) over that of the neighbourhood; 1 where nothing sticks out."""
    height, width = (side // period * period for side in image.shape[:2])
    luminance = image[:height, :width] @ _LUMA
    window = np.outer(np.hanning(height + 1)[:-1], np.hanning(width + 1)[:-1])
    energy = np.abs(np.fft.fft2((luminance - luminance.mean()) * window)) ** 2
    reach = np.arange(-5, 6)
    around = np.maximum(np.abs(reach)[:, None], np.abs(reach)) >= 2  # Hann spreads a line over its next bins
    found = np.empty((period, period))
    for down in range(period):
        for across in range(period):
            rows = (down * height // period + reach) % height
            columns = (across * width // period + reach) % width
            near = energy[np.ix_(rows, columns)]
            # half a grey level of noise as a floor: a flat picture has no spectrum to stand out of
            floor = 0.25 * float((window**2).sum())
            found[down, across] = (near[5, 5] + floor) / (near[around].mean() + floor)
    return found


@dataclass(frozen=True)
class Border:
    """The outer pixels of paintings against the same pixels painted inside a larger picture; 1 = alike."""

    brightness: float
    contrast: float
    """Spread of the luminance."""
    detail: float
    """Mean absolute difference of neighbouring pixels."""
    width: int

    def __bool__(self) -> bool:
        return all(abs(ratio - 1) <= BORDER_LIMIT for ratio in (self.brightness, self.contrast, self.detail))

    @property
    def line(self) -> str:
        return (
            f"outer {self.width} px against the same inside: brightness x{self.brightness:.3f}, contrast "
            f"x{self.contrast:.3f}, detail x{self.detail:.3f} (limit x{1 + BORDER_LIMIT:.2f})"
        )


def border(
    paint: Callable[[Image], Image],
    pictures: Sequence[Image],
    *,
    width: int = 16,
    inset: int = 48,
    scale: int = 1,
) -> Border:
    """Paint each picture whole and with `inset` pixels cut away all around, and compare along the cut.

    The same content in both, so that what differs is the network's knowledge of the border. `inset` is a
    multiple of every network's stride: the cells of both paintings lie alike. Pictures at least SMALLEST pixels
    high and wide. `scale`: the painting's size over the picture's; `width` counts the painting's pixels.
    """
    figures = []
    for picture in pictures:
        height, across = picture.shape[:2]
        inner = np.s_[inset : height - inset, inset : across - inset]
        cut, whole = paint(np.ascontiguousarray(picture[inner])), paint(picture)
        larger = np.s_[scale * inset : scale * (height - inset), scale * inset : scale * (across - inset)]
        whole = whole[larger]
        figures.append([_statistics(cut, width), _statistics(whole, width)])
    at_border, inside = np.mean(figures, axis=0)
    brightness, contrast, detail = (at_border / np.maximum(inside, 1e-6)).tolist()
    return Border(brightness, contrast, detail, width)


def _statistics(painted: Image, width: int) -> tuple[float, float, float]:
    """Brightness, contrast and detail of the outer `width` pixels."""
    luminance = painted @ _LUMA
    outer = np.ones(luminance.shape, bool)
    outer[width:-width, width:-width] = False
    down, across = np.abs(np.diff(luminance, axis=0)), np.abs(np.diff(luminance, axis=1))
    detail = (down[outer[1:]].mean() + across[outer[:, 1:]].mean()) / 2
    return float(luminance[outer].mean()), float(luminance[outer].std()), float(detail)
