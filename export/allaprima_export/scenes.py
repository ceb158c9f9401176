"""Pictures drawn by arithmetic: what photographs do not show, the same on every machine.

They catch a swapped channel (bars), fp16 overflow (checker of 0 and 255), a truncating cast (gradient), a
division by a picture's own spread (flat, dark), padding and cropping that fit only round sizes (odd and tiny ones).
"""

from __future__ import annotations

import numpy as np

from allaprima.frame import Image

__all__ = ["golden_scene", "practice_scenes", "scenes"]


def scenes() -> dict[str, Image]:
    """Name -> (H, W, 3) uint8 RGB."""
    return {
        "bars 128x96": bars(96, 128),
        "checker 64x96": checker(96, 64),
        "gradient 93x61": gradient(61, 93),
        "noise 61x93": noise(93, 61),
        "flat 40x24": np.full((24, 40, 3), 128, np.uint8),
        # A covered lens. Not pure black: instance norm divides its rounding errors by their own spread there,
        # and no two programs agree, torch with itself in double precision included.
        "dark 24x40": noise(40, 24) // 64,
        "white 17x23": np.full((23, 17, 3), 255, np.uint8),
        "noise 16x16": noise(16, 16),
        "golden 173x131": golden_scene(),
    }


def practice_scenes(count: int = 16) -> list[Image]:
    """Others, to practise on before `scenes` are the test: other sizes, a bright, a dim, a dark one, then noise."""
    made = []
    for number in range(count):
        height, width = 224 + 16 * (number % 3), 240 + 16 * (number % 5)
        scene = noise(height, width, 1 + number) if number % 4 == 3 else golden_scene(height, width)
        light = (1.0, 0.6, 0.25, 1.0)[number % 4]
        made.append((np.roll(scene, number // 4, axis=-1) * light).astype(np.uint8))
    return made


def golden_scene(height: int = 131, width: int = 173) -> Image:
    """Bars, a gradient, flat grey, sharp edges and soft clouds in one picture of odd size."""
    scene = np.empty((height, width, 3), np.uint8)
    third, half = height // 3, width // 2
    scene[:third] = bars(third, width)
    scene[third : 2 * third, :half] = gradient(third, half)
    scene[third : 2 * third, half:] = disc(third, width - half)
    scene[2 * third :, :half] = clouds(height - 2 * third, half)
    scene[2 * third :, half:] = 128
    return scene


def bars(height: int, width: int) -> Image:
    """The eight corners of the colour cube, white to black, as upright bars."""
    corner = 7 - np.arange(width) * 8 // width
    row = np.stack([corner >> 1 & 1, corner >> 2 & 1, corner & 1], axis=-1) * 255
    return np.broadcast_to(row.astype(np.uint8), (height, width, 3)).copy()


def checker(height: int, width: int, side: int = 2) -> Image:
    """0 and 255 in squares of `side` pixels: the most contrast that there is."""
    rows, columns = np.mgrid[0:height, 0:width] // side
    return np.repeat(((rows + columns) % 2 * 255).astype(np.uint8)[..., None], 3, axis=-1)


def gradient(height: int, width: int) -> Image:
    """Red grows to the right, green downwards, blue falls to the right."""
    rows, columns = np.mgrid[0:height, 0:width]
    right, down = columns * 255 // (width - 1), rows * 255 // (height - 1)
    return np.stack([right, down, 255 - right], axis=-1).astype(np.uint8)


def disc(height: int, width: int) -> Image:
    """A yellow disc on blue: an edge in every direction."""
    rows, columns = np.mgrid[0:height, 0:width]
    inside = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (min(height, width) / 2.5) ** 2
    return np.where(inside[..., None], (240, 200, 40), (30, 60, 160)).astype(np.uint8)


def noise(height: int, width: int, seed: int = 0) -> Image:
    """Every byte by chance."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def clouds(height: int, width: int) -> Image:
    """Soft forms: waves that meet at angles, other ones in each colour."""
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [
        127 + 60 * np.sin(columns / 11 + phase) + 60 * np.sin(rows / 7 + columns / 19 + 2 * phase)
        for phase in (0, 1, 2)
    ]
    return np.stack(planes, axis=-1).astype(np.uint8)
