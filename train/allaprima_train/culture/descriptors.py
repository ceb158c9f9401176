"""What a picture is like in colour, texture and line: named numbers, each differentiable, each meant to be read.

    describe(x)[n, NAMES.index("line.width_dark")]    # of picture n: how wide its dark strokes are, in pixels

They are arithmetic on pixels; no network decides. So everyone can look up why a picture scores as it does, and a
loss can pull on the very numbers that the score reports. What they cannot see is meaning: subject, composition,
touch, history.

    colour    CIE Lab: means, spreads and quantiles (the palette's shape); `palette` names the colours themselves
    texture   histograms of local binary patterns (Ojala 2002) on circles of 1 and 2 pixels, and a Gram matrix of
              Gaussian-derivative responses at three scales: energies and correlations
    line      edge density; widths of dark and light strokes by a pattern spectrum (Maragos 1989); curvature along
              strokes, their direction and its coherence by the structure tensor

Lengths are in pixels of the picture as given: pictures that are to be compared need one scale (`SIDE`).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from allaprima.frame import Image

__all__ = ["MAPS", "NAMES", "PARTS", "SIDE", "Swatch", "describe", "lab", "maps", "palette", "with_maps"]

SIDE = 256
"""Short side, in pixels, at which whole pictures are described: then a pixel means the same in each."""

PARTS = ("colour", "texture", "line")

SCALES = (1.0, 2.0, 4.0)  # sigmas of the filters, in pixels
RADII = (1.0, 2.0)  # of the binary patterns
REACH = (1, 2, 3, 4)  # half widths of the strokes that the pattern spectrum takes apart, in pixels
DIRECTIONS = 8  # of strokes, over half a turn
SOFT = 1.0  # units of L: differences below count as noise, above as a step
QUANTILES = {"lightness": (0.05, 0.25, 0.75, 0.95), "green_red": (0.1, 0.9), "blue_yellow": (0.1, 0.9)}
AXES = ("lightness", "green_red", "blue_yellow")  # L, a, b

NAMES: tuple[str, ...] = (
    *(f"colour.{axis}_mean" for axis in AXES),
    *(f"colour.{axis}_spread" for axis in AXES),
    "colour.chroma_mean",
    *(f"colour.{axis}_q{round(100 * q)}" for axis, at in QUANTILES.items() for q in at),
    *(f"texture.lbp{radius:.0f}_{bin}" for radius in RADII for bin in (*range(9), "mixed")),
    *(f"texture.energy_{kind}{sigma:.0f}" for kind in ("edge", "spot", "hue") for sigma in SCALES),
    *(f"texture.gram_edge{one:.0f}_edge{two:.0f}" for one, two in itertools.pairwise(SCALES)),
    *(f"texture.gram_edge{sigma:.0f}_hue{sigma:.0f}" for sigma in SCALES),
    "line.edge_density",
    *(f"line.{tone}_{half}" for tone in ("dark", "light") for half in REACH),
    "line.width_dark",
    "line.width_light",
    "line.curvature",
    "line.coherence",
    *(f"line.direction_{180 * n // DIRECTIONS}" for n in range(DIRECTIONS)),
)


def describe(x: Tensor) -> Tensor:
    """(N, 3, H, W) float RGB in [0, 1], at least 32x32 -> (N, len(NAMES)) float, in the order of NAMES."""
    with torch.autocast(x.device.type, enabled=False):
        pixels = lab(x.float())
        return torch.cat([_colour(pixels), _texture(pixels), _line(pixels[:, :1])], 1)


def lab(x: Tensor) -> Tensor:
    """(N, 3, H, W) sRGB in [0, 1] -> CIE Lab under D65: L 0..100, a and b some -110..110."""
    from kornia.color import rgb_to_lab

    pixels: Tensor = rgb_to_lab(x.clamp(0, 1))
    return pixels


def maps(x: Tensor) -> Tensor:
    """What a discriminator can look at in place of RGB: (N, 3, H, W) in [0, 1] -> (N, 7, H, W), each some -1..1.

    L, a, b, the height of edges, and per pixel the direction of strokes (cosine and sine of twice the angle, times
    coherence) and the local binary pattern's number of brighter neighbours.
    """
    with torch.autocast(x.device.type, enabled=False):
        pixels = lab(x.float())
        light = pixels[:, :1]
        across, down = _gradient(light, 1.0)
        height = (across.square() + down.square() + 1e-6).sqrt()
        turned, weight = _orientation(light)
        steps = _steps(light, 1.0).mean(1, keepdim=True)
        return torch.cat(
            [light / 50 - 1, pixels[:, 1:] / 60, torch.tanh(height / 8), turned * weight, 2 * steps - 1], 1
        )


MAPS = 7
"""How many `maps` there are."""


def with_maps(x: Tensor) -> Tensor:
    """(N, 3, H, W) in [0, 1] -> (N, 3 + MAPS, H, W), each some 0..1: a picture and what strikes a connoisseur in it."""
    return torch.cat([x, (maps(x) + 1) / 2], 1)


def _colour(pixels: Tensor) -> Tensor:
    flat = pixels.flatten(2)  # (N, 3, pixels)
    spread, mean = torch.std_mean(flat, dim=2, correction=0)
    chroma = (flat[:, 1:].square().sum(1) + 1e-6).sqrt().mean(1, keepdim=True)
    ordered = flat.sort(dim=2).values  # torch.quantile refuses more than 16 million numbers
    last = flat.shape[2] - 1
    quantiles = [
        ordered[:, AXES.index(axis), round(q * last)] for axis, places in QUANTILES.items() for q in places
    ]
    return torch.cat([mean, spread, chroma, torch.stack(quantiles, 1)], 1)


def _texture(pixels: Tensor) -> Tensor:
    light = pixels[:, :1]
    found = [_binary_patterns(light, radius) for radius in RADII]
    edges, spots, hues = [], [], []
    for sigma in SCALES:
        across, down = _gradient(pixels, sigma)
        height = across.square() + down.square()  # (N, 3, H, W)
        edges.append((height[:, 0] + 1e-6).sqrt().flatten(1) * sigma)
        hues.append((height[:, 1:].sum(1) + 1e-6).sqrt().flatten(1) * sigma)
        spots.append(_laplacian(light, sigma).flatten(1) * sigma**2)
    energies = [(response.square().mean(1) + 1e-3).log() for response in (*edges, *spots, *hues)]
    grams = [_cosine(one, two) for one, two in itertools.pairwise(edges)]
    grams += [_cosine(edge, hue) for edge, hue in zip(edges, hues, strict=True)]
    return torch.cat([*found, torch.stack([*energies, *grams], 1)], 1)


def _line(light: Tensor) -> Tensor:
    across, down = _gradient(light, 1.0)
    height = (across.square() + down.square() + 1e-6).sqrt()
    density = torch.sigmoid(height - 4).mean((1, 2, 3))  # 4 units of L per pixel: what an eye calls a line
    dark = _spectrum(light)
    pale = _spectrum(-light)
    turned, weight = _orientation(light)
    return torch.stack(
        [
            density,
            *dark,
            *pale,
            _width(dark),
            _width(pale),
            _curvature(turned, weight),
            weight.square().sum((1, 2, 3)) / (weight.sum((1, 2, 3)) + 1e-6),
            *_directions(turned, weight),
        ],
        1,
    )


def _binary_patterns(light: Tensor, radius: float) -> Tensor:
    """(N, 10): shares of the rotation-invariant uniform patterns of 8 neighbours, by how many are brighter, and of
    all others. A step is a sigmoid of width SOFT, so flat areas (all steps 1/2) count as 4 and noise does not decide.
    """
    steps = _steps(light, radius)  # (N, 8, H, W)
    brighter = steps.sum(1)
    changes = (steps - steps.roll(1, 1)).abs().sum(1)
    uniform = torch.sigmoid(4 * (3 - changes))  # at most two changes around the circle
    bins = [(uniform * F.relu(1 - (brighter - n).abs())).mean((1, 2)) for n in range(9)]
    return torch.stack([*bins, (1 - uniform).mean((1, 2))], 1)


def _steps(light: Tensor, radius: float) -> Tensor:
    """(N, 8, H, W): how surely each of 8 neighbours on a circle is brighter than the pixel, 0..1."""
    kernel = _circle(radius).to(light)
    differences = F.conv2d(_padded(light, kernel.shape[-1] // 2), kernel)
    return torch.sigmoid(differences / SOFT)


@cache
def _circle(radius: float) -> Tensor:
    """(8, 1, side, side): neighbour minus centre, neighbours off the grid by bilinear interpolation."""
    reach = math.ceil(radius)
    kernel = torch.zeros(8, 1, 2 * reach + 1, 2 * reach + 1)
    for n in range(8):
        y, x = -radius * math.sin(n * math.pi / 4) + reach, radius * math.cos(n * math.pi / 4) + reach
        top, left = min(int(y + 1e-9), 2 * reach - 1), min(int(x + 1e-9), 2 * reach - 1)
        for row, part in ((top, 1 - (y - top)), (top + 1, y - top)):
            for column, share in ((left, 1 - (x - left)), (left + 1, x - left)):
                kernel[n, 0, row, column] += part * share
        kernel[n, 0, reach, reach] -= 1
    return kernel


def _spectrum(light: Tensor) -> list[Tensor]:
    """How much lightness closing by squares of growing size adds: the dark strokes of each width, in units of L."""
    before, found = light, []
    for half in REACH:
        side = 2 * half + 1
        wide = F.max_pool2d(_padded(light, 2 * half), side, 1)
        closed = -F.max_pool2d(-wide, side, 1)
        found.append((closed - before).mean((1, 2, 3)))
        before = closed
    return found


def _width(spectrum: list[Tensor]) -> Tensor:
    """Mean width in pixels, in steps of 2: a closing by 2 half + 1 fills strokes of up to 2 half pixels."""
    total = torch.stack(spectrum).sum(0) + 1e-3
    return (
        sum((2 * half * part for half, part in zip(REACH, spectrum, strict=True)), torch.zeros_like(total))
        / total
    )


def _orientation(light: Tensor) -> tuple[Tensor, Tensor]:
    """(N, 2, H, W) cosine and sine of twice the strokes' angle, and (N, 1, H, W) how much that is worth, 0..1.

    By the structure tensor over 2 pixels; worth is coherence, and next to nothing where there is no contrast.
    """
    across, down = _gradient(light, 1.0)
    tensor = _blur(
        torch.cat([down.square() - across.square(), -2 * across * down, across.square() + down.square()], 1),
        2.0,
    )
    energy = tensor[:, 2:]
    length = (tensor[:, :2].square().sum(1, keepdim=True) + 1e-6).sqrt()
    return tensor[:, :2] / length, length / (energy + 4)  # 4: a gradient of 2 units of L per pixel


def _curvature(turned: Tensor, weight: Tensor) -> Tensor:
    """Mean change of the strokes' angle per pixel of their length, in radians, where there are strokes."""
    cosine, sine = turned[:, :1], turned[:, 1:]
    # along the tangent (cos t, sin t): from the double angle, signs do not matter for the squared change
    along_x = ((1 + cosine).clamp(min=0) / 2 + 1e-6).sqrt()
    along_y = ((1 - cosine).clamp(min=0) / 2 + 1e-6).sqrt() * torch.sign(sine.detach() + 1e-12)
    change = torch.zeros_like(weight)
    for part in (cosine, sine):
        across = (part[..., :, 2:] - part[..., :, :-2]) / 2
        down = (part[..., 2:, :] - part[..., :-2, :]) / 2
        step = along_x[..., 1:-1, 1:-1] * across[..., 1:-1, :] + along_y[..., 1:-1, 1:-1] * down[..., :, 1:-1]
        change = change + F.pad(step.square(), (1, 1, 1, 1))
    bend = (change + 1e-8).sqrt() / 2  # of the double angle
    return (weight * bend).sum((1, 2, 3)) / (weight.sum((1, 2, 3)) + 1e-6)


def _directions(turned: Tensor, weight: Tensor) -> list[Tensor]:
    """Share of the strokes that run in each direction, 0 = level, 90 = upright; counter-clockwise, as on paper."""
    found = []
    for n in range(DIRECTIONS):
        angle = 2 * math.pi * n / DIRECTIONS
        near = F.relu(turned[:, :1] * math.cos(angle) - turned[:, 1:] * math.sin(angle)).pow(4)
        found.append((weight * near).sum((1, 2, 3)))
    total = sum(found, torch.zeros_like(found[0])) + 1e-6
    return [part / total for part in found]


def _gradient(light: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Derivative of Gaussian along x and along y (down), in units per pixel."""
    smooth = _padded(_blur(light, sigma), 1)
    return (
        (smooth[..., 1:-1, 2:] - smooth[..., 1:-1, :-2]) / 2,
        (smooth[..., 2:, 1:-1] - smooth[..., :-2, 1:-1]) / 2,
    )


def _laplacian(light: Tensor, sigma: float) -> Tensor:
    smooth = _padded(_blur(light, sigma), 1)
    centre = smooth[..., 1:-1, 1:-1]
    around = smooth[..., 1:-1, 2:] + smooth[..., 1:-1, :-2] + smooth[..., 2:, 1:-1] + smooth[..., :-2, 1:-1]
    return around - 4 * centre


def _blur(x: Tensor, sigma: float) -> Tensor:
    reach = math.ceil(3 * sigma)
    bell = torch.exp(-torch.arange(-reach, reach + 1, device=x.device).float().square() / (2 * sigma**2))
    bell = (bell / bell.sum()).expand(x.shape[1], 1, 1, -1)
    x = F.conv2d(_padded(x, reach), bell, groups=x.shape[1])
    return F.conv2d(x, bell.transpose(2, 3), groups=x.shape[1])


def _padded(x: Tensor, by: int) -> Tensor:
    return F.pad(x, (by, by, by, by), mode="replicate")


def _cosine(one: Tensor, two: Tensor) -> Tensor:
    return (one * two).mean(1) / ((one.square().mean(1) * two.square().mean(1)).sqrt() + 1e-6)


@dataclass(frozen=True)
class Swatch:
    colour: str
    """`#rrggbb`"""
    share: float
    """Of the picture's pixels, 0..1."""


def palette(image: Image, colours: int = 6, pixels: int = 20_000) -> list[Swatch]:
    """The main colours of a (H, W, 3) uint8 RGB picture, most frequent first: k-means in Lab, the same each time."""
    import cv2

    flat = image.reshape(-1, 3)
    flat = flat[:: max(1, len(flat) // pixels)]
    points = cv2.cvtColor(flat[None].astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[0]
    colours = min(colours, len(np.unique(flat, axis=0)))
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 50, 0.1)
    _, labels, centres = cv2.kmeans(points, colours, None, stop, 3, cv2.KMEANS_PP_CENTERS)  # type: ignore[call-overload]
    back = cv2.cvtColor(centres[None].astype(np.float32), cv2.COLOR_Lab2RGB)[0]
    counts = np.bincount(labels.ravel(), minlength=colours)
    found = [
        Swatch(
            "#{:02x}{:02x}{:02x}".format(*np.clip(rgb * 255 + 0.5, 0, 255).astype(int)),
            float(count / len(flat)),
        )
        for rgb, count in zip(back, counts, strict=True)
    ]
    return sorted(found, key=lambda swatch: -swatch.share)
