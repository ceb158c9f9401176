"""Two faults of painting networks that no loss shows and every eye sees, measured: the grid and the border.

A network that ends in a pixel shuffle can leave a pattern with the shuffle's period; one that can tell where a picture
ends, by its zero padding for one, can paint a band along the border. In photographs it hides, in a plain sky it is seen
at once: so skies are drawn, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from allaprima.frame import Image

__all__ = [
    "BORDER_LIMIT",
    "GRID_LIMIT_DB",
    "SKY_LEVELS",
    "SMALLEST",
    "Border",
    "Grid",
    "border",
    "grid",
    "skies",
]

GRID_LIMIT_DB = 1.0
BORDER_LIMIT = 0.10
SKY_LEVELS = 8.0
"""The most that a line along the border of a plain sky may be off, in levels of 255: half of it is hard to see."""
SKY_INSET = 96
"""Pixels between the border of a drawn sky and what is compared: more than a small network sees."""
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
    sky_levels: float
    """In drawn skies: the most that the mean of a line along the border differs from the same painted inside a larger
    sky, of any colour, in levels of 255."""

    def __bool__(self) -> bool:
        ratios = (self.brightness, self.contrast, self.detail)
        return self.sky_levels <= SKY_LEVELS and all(abs(ratio - 1) <= BORDER_LIMIT for ratio in ratios)

    @property
    def line(self) -> str:
        return (
            f"outer {self.width} px against the same inside: brightness x{self.brightness:.3f}, contrast "
            f"x{self.contrast:.3f}, detail x{self.detail:.3f} (limit x{1 + BORDER_LIMIT:.2f}); in plain skies "
            f"{self.sky_levels:.1f} levels (limit {SKY_LEVELS:g})"
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
        cut, whole = _both(paint, picture, inset, scale)
        figures.append([_statistics(cut, width), _statistics(whole, width)])
    at_border, inside = np.mean(figures, axis=0)
    brightness, contrast, detail = (at_border / np.maximum(inside, 1e-6)).tolist()
    off = max(_band(*_both(paint, sky, SKY_INSET, scale)) for sky in skies())
    return Border(brightness, contrast, detail, width, off)


def skies(height: int = 416, width: int = 480) -> list[Image]:
    """Plain skies and a wall, from top to bottom from one colour to another, with a sensor's noise of one level."""
    ends = [((90, 140, 210), (190, 215, 240)), ((235, 235, 235), (250, 250, 250)),
            ((60, 50, 80), (240, 150, 90)), ((140, 110, 90), (165, 135, 110))]  # fmt: skip
    down = np.linspace(0, 1, height)[:, None, None]
    noise = np.random.default_rng(1).normal(0, 1, (height, width, 3))
    return [
        np.clip((1 - down) * top + down * bottom + noise + 0.5, 0, 255).astype(np.uint8)
        for top, bottom in np.array(ends, float)
    ]


def _both(paint: Callable[[Image], Image], picture: Image, inset: int, scale: int) -> tuple[Image, Image]:
    """The inside of a picture painted alone, and what lies there when the whole is painted."""
    height, across = picture.shape[:2]
    cut = paint(np.ascontiguousarray(picture[inset : height - inset, inset : across - inset]))
    edge = scale * inset
    return cut, paint(picture)[edge : scale * height - edge, edge : scale * across - edge]


def _band(cut: Image, whole: Image) -> float:
    """The largest mean difference of a row or column of any colour, corners left out: lines, as an eye sees them."""
    off = cut.astype(np.float64) - whole
    rows, columns = (off[:, 48:-48].mean(1), off[48:-48].mean(0))
    return float(max(np.abs(rows).max(), np.abs(columns).max()))


def _statistics(painted: Image, width: int) -> tuple[float, float, float]:
    """Brightness, contrast and detail of the outer `width` pixels."""
    luminance = painted @ _LUMA
    outer = np.ones(luminance.shape, bool)
    outer[width:-width, width:-width] = False
    down, across = np.abs(np.diff(luminance, axis=0)), np.abs(np.diff(luminance, axis=1))
    detail = (down[outer[1:]].mean() + across[outer[:, 1:]].mean()) / 2
    return float(luminance[outer].mean()), float(luminance[outer].std()), float(detail)
