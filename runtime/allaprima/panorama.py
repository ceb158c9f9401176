"""Pictures that overlap, into one: OpenCV's stitcher aligns them, a network of the method `fuse` blends.

    with Stylizer.open("fuse.prima") as stylizer:
        joined = panorama([left, middle, right], stylizer)

Alignment is the stitcher's: features, matches, a camera for each picture, a surface to project them on. Then the
light of the pictures is brought together by a gain for each colour, and what differs in broad tones, a corner that is
darker, a sky that changed, goes over from one to the other across the whole overlap: no network that looks at some
pixels around can do that. What is left, things that moved, a lens that is not as straight as the model, is the
network's: it gets two pictures of one size in which each has the other's pixels where it has none of its own, and
decides for every pixel whom to trust.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, UsageError
from .frame import Image
from .opencv import import_cv2

if TYPE_CHECKING:
    from .stylizer import Stylizer

__all__ = ["Laid", "align", "panorama", "stack"]

Mask = NDArray[np.bool_]

AROUND = 96  # pixels that the network sees around what is joined: some three of its cells at their largest
BROAD = 24.0  # pixels, standard deviation of a Gaussian: what is broader lies beyond the some 90 that a network sees
PASSES = 3  # along the ends of an overlap a Gaussian has pixels on one side only; each pass smooths what was left over
SEEN_PIXELS = 1_000_000  # of a picture, shrunk, when features are looked for
FEATURES = 2000
CONFIDENCE = 1.0  # of a match between two pictures: inliers against what chance would give (Brown, Lowe 2007)
LARGEST = 3.0  # times the pictures' own pixels: a canvas above it is a camera that was guessed wrong


@dataclass(frozen=True)
class Laid:
    """A picture on the canvas, as large as that."""

    image: Image
    covered: Mask
    """(H, W): where it has pixels."""


def panorama(pictures: Sequence[Image], stylizer: Stylizer, *, names: Sequence[str] = ()) -> Image:
    """(H, W, 3) uint8 RGB pictures, at least two -> the largest rectangle that they cover together, RGB.

    `names` are for errors. `stylizer` is of a style that makes one of two. Raises UsageError E_STYLE_PICTURES for
    another, InputError E_PANORAMA_FEW, E_PANORAMA_ALIGN with the pictures that do not fit, DeviceError where OpenCV
    cannot be loaded.
    """
    _require_two(stylizer)
    laid = align(pictures, names=names)
    image, covered = laid[0].image, laid[0].covered
    left = laid[1:]
    while left:
        overlaps = [int((covered & one.covered).sum()) for one in left]
        one = left.pop(int(np.argmax(overlaps)))  # the best known neighbour next
        image, covered = _joined(image, covered, one, stylizer)
    top, bottom, begin, end = _rectangle(covered)
    return np.ascontiguousarray(image[top:bottom, begin:end])


def stack(pictures: Sequence[Image], stylizer: Stylizer) -> Image:
    """Pictures of one view and size, exposures or a focus stack, moved by a hand at most -> one, RGB.

    Aligned by whole pixels (median threshold bitmaps, Ward 2003), then fused two by two. Raises as `panorama`, and
    InputError E_PANORAMA_ALIGN where sizes differ.
    """
    _require_two(stylizer)
    cv2 = import_cv2("align pictures")
    sizes = {picture.shape for picture in pictures}
    if len(pictures) < 2:
        raise _few(len(pictures))
    if len(sizes) > 1:
        raise InputError(
            "E_PANORAMA_ALIGN",
            "cannot stack these pictures",
            "they are of different sizes",
            "stacks are of one view; leave --stack out for a panorama",
        )
    aligned = [np.ascontiguousarray(picture) for picture in pictures]
    cv2.createAlignMTB().process(aligned, aligned)
    fused = aligned[0]
    for one in aligned[1:]:
        fused = stylizer.fuse([fused, one])
    return fused


def align(pictures: Sequence[Image], *, names: Sequence[str] = ()) -> list[Laid]:
    """Every picture where it belongs on one canvas, in the order given, in like light. Raises as `panorama`."""
    cv2 = import_cv2("align pictures")
    if len(pictures) < 2:
        raise _few(len(pictures))
    called = list(names) or [f"picture {number}" for number in range(1, len(pictures) + 1)]
    given = [np.ascontiguousarray(picture[..., ::-1]) for picture in pictures]
    scale = min(1.0, *((SEEN_PIXELS / (one.shape[0] * one.shape[1])) ** 0.5 for one in given))
    detector = cv2.SIFT_create(FEATURES)
    features = [
        cv2.detail.computeImageFeatures2(
            detector, cv2.resize(one, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        )
        for one in given
    ]
    missing = called
    for surface in (
        "spherical",
        "affine",
    ):  # a camera that turns; a flat thing that a camera, or a scanner, moves over
        cameras, found = _cameras(cv2, features, flat=surface == "affine")
        if len(found) < len(given):
            missing = [name for number, name in enumerate(called) if number not in found]
        elif cameras:
            warped = _warped(cv2, given, cameras, 1 / scale, surface)
            if _sane(warped, given):
                return _laid(cv2, warped)
    raise InputError(
        "E_PANORAMA_ALIGN",
        f"cannot align {' and '.join(missing)}",
        "too little is in it that the others show, too"
        if len(missing) < len(called)
        else "OpenCV finds no camera that explains all of them",
        "pictures have to overlap by a third, from one place, with something to hold on to in the overlap",
    )


Warped = tuple[tuple[int, int], NDArray[np.uint8], NDArray[np.uint8]]  # corner (x, y), BGR, mask


def _cameras(cv2: Any, features: Sequence[Any], *, flat: bool) -> tuple[Sequence[Any], list[int]]:
    """A camera for each picture, none where none is found; and the pictures that belong together."""
    detail = cv2.detail
    kind = detail.AffineBestOf2NearestMatcher if flat else detail.BestOf2NearestMatcher
    matcher = kind(False, False, 0.3) if flat else kind(False, 0.3)
    matches = matcher.apply2(features)
    matcher.collectGarbage()
    together = detail.leaveBiggestComponent(features, matches, CONFIDENCE)
    found = [int(number) for number in np.ravel(together)]
    if len(found) < len(features):
        return (), found
    estimator = detail.AffineBasedEstimator() if flat else detail.HomographyBasedEstimator()
    good, cameras = estimator.apply(features, matches, None)
    if not good:
        return (), found
    for camera in cameras:
        camera.R = camera.R.astype(np.float32)
    adjuster = detail.BundleAdjusterAffine() if flat else detail.BundleAdjusterRay()
    adjuster.setConfThresh(CONFIDENCE)
    good, cameras = adjuster.apply(features, matches, cameras)
    if not good:
        return (), found
    if not flat:  # the horizon straight
        turns = detail.waveCorrect([np.copy(camera.R) for camera in cameras], detail.WAVE_CORRECT_AUTO)
        for camera, turn in zip(cameras, turns, strict=True):
            camera.R = turn
    return cameras, found


def _warped(
    cv2: Any, given: Sequence[Image], cameras: Sequence[Any], scale: float, surface: str
) -> list[Warped]:
    """The pictures projected onto the surface that their cameras see; `scale` times the size they were matched in."""
    focal = float(np.median([camera.focal for camera in cameras])) * scale
    warper = cv2.PyRotationWarper(surface, focal)
    warped = []
    for picture, camera in zip(given, cameras, strict=True):
        lens = np.array(
            [[camera.focal, 0, camera.ppx], [0, camera.focal * camera.aspect, camera.ppy], [0, 0, 1]],
            np.float32,
        )
        lens[:2] *= scale
        turn = camera.R.astype(np.float32)
        corner, image = warper.warp(picture, lens, turn, cv2.INTER_LINEAR, cv2.BORDER_REFLECT)
        whole = np.full(picture.shape[:2], 255, np.uint8)
        _, mask = warper.warp(whole, lens, turn, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT)
        warped.append((corner, image, mask))
    return warped


def _sane(warped: Sequence[Warped], given: Sequence[Image]) -> bool:
    """Whether the canvas is of a size that the pictures can fill."""
    _, (width, height) = _canvas(warped)
    pixels = sum(picture.shape[0] * picture.shape[1] for picture in given)
    return 0 < width * height <= LARGEST * pixels


def _canvas(warped: Sequence[Warped]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Its top left corner (x, y) and its (width, height)."""
    left, top = (min(corner[axis] for corner, _, _ in warped) for axis in (0, 1))
    right = max(corner[0] + image.shape[1] for corner, image, _ in warped)
    bottom = max(corner[1] + image.shape[0] for corner, image, _ in warped)
    return (left, top), (right - left, bottom - top)


def _laid(cv2: Any, warped: Sequence[Warped]) -> list[Laid]:
    """On the canvas, with a gain for each picture and colour that makes overlaps alike (Brown, Lowe 2007)."""
    light = cv2.detail.ExposureCompensator_createDefault(cv2.detail.EXPOSURE_COMPENSATOR_CHANNELS)
    corners, images, masks = (list(part) for part in zip(*warped, strict=True))
    light.feed(corners, images, masks)
    (left, top), (width, height) = _canvas(warped)
    laid = []
    for number, (corner, image, mask) in enumerate(warped):
        adjusted = light.apply(number, corner, image, mask)
        rows = slice(corner[1] - top, corner[1] - top + image.shape[0])
        columns = slice(corner[0] - left, corner[0] - left + image.shape[1])
        canvas, covered = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), bool)
        canvas[rows, columns], covered[rows, columns] = adjusted[..., ::-1], mask > 0
        laid.append(Laid(canvas, covered))
    return laid


def _joined(image: Image, covered: Mask, one: Laid, stylizer: Stylizer) -> tuple[Image, Mask]:
    """The canvas with one more picture: only where that lies, and a little around it."""
    rows, columns = (
        slice(max(0, int(places[0]) - AROUND), int(places[-1]) + 1 + AROUND)
        for places in (np.flatnonzero(one.covered.any(axis)) for axis in (1, 0))
    )
    ours, theirs = covered[rows, columns, None], one.covered[rows, columns, None]
    first = np.where(ours, image[rows, columns], one.image[rows, columns])
    second = np.where(theirs, one.image[rows, columns], image[rows, columns])
    first, second = _toned(first, second, ours[..., 0], theirs[..., 0])
    fused = stylizer.fuse([np.ascontiguousarray(first), np.ascontiguousarray(second)])
    whole = image.copy()
    whole[rows, columns] = np.where(ours | theirs, fused, 0)
    return whole, covered | one.covered


def _toned(first: Image, second: Image, ours: Mask, theirs: Mask) -> tuple[Image, Image]:
    """Two pictures (H, W, 3) with the same broad tones, each its own where the other ends.

    The low band of multi-band blending (Burt, Adelson 1983; two bands do, Brown, Lowe 2007). Broad is a Gaussian of
    `BROAD` pixels over what both cover; the weight of each grows with the distance from where it ends.
    """
    both = ours & theirs
    if not both.any():
        return first, second
    cv2 = import_cv2("join pictures")

    inside = both.astype(np.float32)[..., None]
    weight = cv2.GaussianBlur(inside, (0, 0), BROAD)[..., None].clip(1e-6)
    apart = np.zeros(first.shape, np.float32)
    differs = second.astype(np.float32) - first
    for _ in range(PASSES):
        apart += cv2.GaussianBlur((differs - apart) * inside, (0, 0), BROAD) / weight * inside
    depth, other_depth = (
        cv2.distanceTransform(np.pad(one, 1, mode="edge").astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
        for one in (ours, theirs)
    )
    share = (depth / np.maximum(depth + other_depth, 1e-6))[..., None]  # (H, W, 1): how much is the first's
    pair = (first + (1 - share) * apart, second - share * apart)
    toned, other = (np.rint(np.clip(one, 0, 255)).astype(np.uint8) for one in pair)
    return toned, other


def _rectangle(covered: Mask) -> tuple[int, int, int, int]:
    """The largest rectangle without a gap: (top, bottom, left, right).

    For each row, how far up each column is covered; of these bars the largest rectangle, by a stack of those that still
    rise. Done in cells of `step` pixels, of which every one has to be covered.
    """
    step = max(1, max(covered.shape) // 600)
    small = covered[: covered.shape[0] // step * step, : covered.shape[1] // step * step]
    cells = small.reshape(small.shape[0] // step, step, -1, step)
    bars = np.logical_and.reduce(cells, axis=(1, 3))
    heights: NDArray[np.int64] = np.zeros(bars.shape[1], np.int64)
    best = (0, 0, 0, 0, 0)
    for row, line in enumerate(bars):
        heights = np.where(line, heights + 1, 0)
        rising: list[tuple[int, int]] = []  # (column where the bar begins to count, height)
        for column, height in enumerate([*heights.tolist(), 0]):
            begin = column
            while rising and rising[-1][1] >= height:
                begin, tall = rising.pop()
                area = tall * (column - begin)
                if area > best[0]:
                    best = (area, row + 1 - tall, row + 1, begin, column)
            rising.append((begin, height))
    return best[1] * step, best[2] * step, best[3] * step, best[4] * step


def _require_two(stylizer: Stylizer) -> None:
    manifest = stylizer.bundle.manifest
    if len(manifest.inputs) != 2:
        raise UsageError(
            "E_STYLE_PICTURES",
            f"style {manifest.name!r} cannot join pictures",
            f"it takes {len(manifest.inputs)} at once, and they are joined two by two",
            "give a style that was trained by the method fuse: recipes/fuse.toml",
        )


def _few(count: int) -> InputError:
    return InputError(
        "E_PANORAMA_FEW", f"cannot join {count} picture{'s' * (count != 1)}", next="give two or more"
    )
