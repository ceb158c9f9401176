"""The stylizer: a frame in, its painting out. The one door of the runtime.

    with Stylizer.open("starry", size=(1280, 720)) as stylizer:
        print(stylizer.report.line)
        stylizer.set(strength=0.8)
        for frame in source:
            sink.put(stylizer(frame))

It knows bundles, sizes, controls and states, and no vendor. One thread at a time may use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import backends, settings
from .bundle import Bundle, find_style
from .engines import Building, NotBuilt
from .errors import AllaPrimaError, DeviceError, InputError, RunError, UsageError
from .frame import Frame, Image
from .manifest import Control, resolve_shape
from .pixels import resize
from .placement import Placement, place, place_planes
from .planes import Coding, Planes
from .post import GRAIN_PHASE, Post, grain_phase
from .threads import available
from .tiles import SMALLEST_SIDE, Tiling, best_side, free_bytes, out_of_memory, tile_picture
from .upgrade import Upgrade
from .winners import narrowed, recall

__all__ = ["Report", "Stylizer"]


WORTH_AN_ENGINE = 8
"""Frames of one size, after which its engine is built: a picture, or a folder of many sizes, is done before."""


@dataclass(frozen=True)
class Report:
    """What runs, and what is not as the user may think."""

    style: str
    line: str
    """The backend, and why no better one: for people."""
    backend: str
    """What to give as `backend` to get the same again."""
    precision: str
    variant: str
    edges: str
    """`planes`: frames of YUV 4:2:0 are painted as they are; `rgb`: they are converted before and after."""
    size: tuple[int, int]
    """(width, height) of the frames that it is warm for."""
    restarts: int
    """How often a new frame size has made the backend start again."""
    passed_over: dict[str, str]
    degraded: list[str]
    """Every change that could otherwise go unseen, in words."""


Profile = Literal["live", "file"]

MOST_IN_FLIGHT = 4
"""More at once would cost memory, and hardly any machine has more speed to give: each has its share of the threads."""


class Stylizer:
    """Make one with `Stylizer.open`."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        backend: str | None,
        precision: str | None,
        threads: int | None,
        profile: Profile = "live",
        tile: int | None = None,
        build: bool = True,
        on_build: Callable[[Building], None] | None = None,
    ) -> None:
        self.bundle = bundle
        self._backend = backend
        self._precision = precision
        self._threads = threads
        several = (
            profile == "file" and not bundle.manifest.states
        )  # each frame of a state waits for the one before
        self._in_flight = min(MOST_IN_FLIGHT, threads or available()) if several else 1
        self._tile = tile
        self._build = build
        self._on_build = on_build
        self._wanted: Callable[[], Upgrade] | None = None  # begins to build the engine of a better backend
        self._upgrade: Upgrade | None = None  # that backend, while its engine is built
        self._frames_before = 0  # painted before it started for this size
        self._switched = ""
        self._measured = ""  # why this backend and no other, where that was measured
        self._no_winner = ""
        self._frames = 0
        self._controls: dict[str, NDArray[np.float32]] = {}
        self._states: dict[str, NDArray[Any]] = {}
        self._started: backends.Started | None = None
        self._picture: tuple[int, int] | None = None  # (height, width) that it is ready for
        self._coding: Coding | None = None  # of the planes that it is ready for; None: RGB
        self._post = Post()  # what is left to do after the graph
        self._no_planes = ""  # why planes, which have come, are converted
        self._placement: Placement | None = None
        self._tiling: Tiling | None = None
        self._passed_over: dict[str, str] = {}
        self._restarts = 0
        self._closed = False
        self.set(
            **{
                control.name: np.reshape(control.initial, control.shape)
                for control in bundle.manifest.controls
            }
        )

    @classmethod
    def open(
        cls,
        style: str | Path | Bundle,
        *,
        backend: str | None = None,
        precision: str | None = None,
        threads: int | None = None,
        size: tuple[int, int] | None = None,
        coding: Coding | None = None,
        profile: Profile = "live",
        tile: int | None = None,
        build: bool = True,
        on_build: Callable[[Building], None] | None = None,
    ) -> Stylizer:
        """Open a style by name, path or bundle.

        `backend` is a name in `backends.BACKENDS`, with a device after a colon if wanted (`ort:cuda`); None:
        the best that starts. `precision` is fp32, bf16, fp16 or int8; None: the one that the device is fastest
        in and the style has. `threads` None: all processors that this process may use. `size` is the
        (width, height) of the frames to come: the backend starts and warms up now; None: at the first frame.
        `coding` is what their planes mean, if they come as such (`VideoSource.coding`); None: they are RGB.
        `profile` "live" paints one frame as fast as it can be; "file" may have several going at once, which is more
        frames per second and each of them later, through `submit`.
        `tile` is the largest side of the tiles that pictures are painted in, 0 for never; None: what is larger
        than a 4K frame or than the free memory (tiles.py). Pictures that fail for lack of memory are tried again
        in smaller tiles.
        `build`: where a backend lacks an engine (TensorRT), build it: before anything else if it was named, telling
        `on_build`; otherwise another backend paints until it is there, and the report says so.

        Raises UsageError for names that do not exist, BundleError, DeviceError for what does not run here.
        """
        bundle = style if isinstance(style, Bundle) else Bundle.open(find_style(style))
        stylizer = cls(
            bundle,
            backend=backend,
            precision=precision,
            threads=threads,
            profile=profile,
            tile=tile,
            build=build,
            on_build=on_build,
        )
        if size is not None and not (coding and stylizer._starts_for_planes((size[1], size[0]), coding)):
            stylizer._start((size[1], size[0]))
        return stylizer

    def __call__(self, frame: Frame) -> Frame:
        """The painted frame, with index and time of the given one; its alpha follows the painting's size.

        A frame of YUV planes is painted as it is and stays one, where the style and the backend can (`report.edges`).
        """
        if GRAIN_PHASE in self._controls:
            self.set(**{GRAIN_PHASE: grain_phase(frame.index)})
        planes = frame.planes
        if planes is not None and not self._post and self._takes(planes):
            return replace(frame, picture=self._paint_planes(planes))
        image = self._post.finish(frame.image, self.paint(frame.image), frame.index)
        alpha = frame.alpha
        if alpha is not None:
            alpha = resize(alpha, image.shape[1], image.shape[0])
        return replace(frame, picture=image, alpha=alpha)

    @property
    def in_flight(self) -> int:
        """How many frames `submit` may have going at once. 1 but for profile "file" on a backend that can."""
        overlapping = self._started is not None and isinstance(self._started.backend, backends.Overlapping)
        return self._in_flight if overlapping else 1

    def submit(self, frame: Frame) -> Callable[[], Frame]:
        """Begin to paint; what is returned waits for the painting and gives it, once, in the order of submission."""
        planes, size = frame.planes, (frame.height, frame.width)
        if (
            self.in_flight > 1
            and not self._post
            and frame.alpha is None
            and GRAIN_PHASE not in self._controls
        ):
            if planes is not None and self._takes(planes):
                going = self._begin(_parts(planes))
                return lambda: replace(frame, picture=_planes_of(going(), planes.coding))
            if planes is None and (self._picture, self._coding, self._tiling) == (size, None, None):
                placement, manifest = self._placement, self.bundle.manifest
                assert placement is not None
                going = self._begin({manifest.inputs[0].name: placement.lay(frame.image)})
                return lambda: replace(frame, picture=placement.lift(going()[manifest.outputs[0].name]))
        painted = self(frame)
        return lambda: painted

    def paint(self, image: Image) -> Image:
        """(H, W, 3) uint8 RGB -> (s·H, s·W, 3) uint8 RGB, a new array; s is the bundle's scale, mostly 1.

        Raises UsageError E_STYLE_PICTURES where the style makes one picture of several: see `fuse`.
        """
        return self.fuse([image])

    def fuse(self, images: Sequence[Image]) -> Image:
        """Several pictures of one view into one: each (H, W, 3) uint8 RGB -> (s·H, s·W, 3) uint8 RGB, a new array.

        As many as the bundle's `inputs`, all of one size, and lying on each other pixel by pixel (panorama.py aligns).
        Raises UsageError E_STYLE_PICTURES for another number, InputError E_INPUT_ARRAY.
        """
        self._check_pictures(images)
        # Along the channels from here on: cut into tiles, padded and fed as if they were one.
        image = np.concatenate(images, axis=2) if len(images) > 1 else images[0]
        size = (image.shape[0], image.shape[1])
        while True:
            if self._picture != size or self._coding is not None:
                self._start(size)
            try:
                return self._paint_tiles(image) if self._tiling else self._paint_whole(image)
            except RunError as error:
                if not (out_of_memory(error) and self._shrink_tiles(size)):
                    raise

    def _check_pictures(self, images: Sequence[Image]) -> None:
        for image in images:
            _check(image)
        manifest = self.bundle.manifest
        wanted = len(manifest.inputs)
        if len(images) != wanted:
            raise UsageError(
                "E_STYLE_PICTURES",
                f"style {manifest.name!r} makes one picture of {wanted}",
                f"it was given {len(images)}",
                "join pictures with allaprima panorama, or call Stylizer.fuse"
                if wanted > 1
                else "paint them one by one",
            )
        sizes = {image.shape[:2] for image in images}
        if len(sizes) > 1:
            raise InputError(
                "E_INPUT_ARRAY",
                "cannot fuse these arrays",
                f"they are of different sizes: {', '.join(f'{width}x{height}' for height, width in sorted(sizes))}",
                "align them first; allaprima panorama does",
            )

    def _paint_whole(self, image: Image) -> Image:
        """(H, W, 3 for each picture) of the placement's size -> (s·H, s·W, 3)."""
        assert self._placement is not None
        manifest = self.bundle.manifest
        pictures = {
            one.name: self._placement.lay(image[..., 3 * number : 3 * number + 3])
            for number, one in enumerate(manifest.inputs)
        }
        answer = self._run(pictures)
        return self._placement.lift(answer[manifest.outputs[0].name])

    def _paint_planes(self, planes: Planes) -> Planes:
        """Of the size and coding that it is ready for -> the painting's planes, coded alike."""
        return _planes_of(self._run(_parts(planes)), planes.coding)

    def _run(self, picture: dict[str, Image]) -> dict[str, NDArray[Any]]:
        return self._begin(picture, alone=True)()

    def _begin(
        self, picture: dict[str, Image], *, alone: bool = False
    ) -> Callable[[], dict[str, NDArray[Any]]]:
        """Begin a run; what is returned gives its answer. `alone`: it is waited for at once."""
        assert self._started is not None
        if self._wanted is not None and self._frames - self._frames_before >= WORTH_AN_ENGINE:
            self._upgrade, self._wanted = self._wanted(), None
        if self._upgrade is not None:
            self._take_better(self._upgrade)
        backend = self._started.backend
        inputs: dict[str, NDArray[Any]] = {**picture, **self._controls, **self._states}
        going: Callable[[], dict[str, NDArray[Any]]] = partial(backend.run, inputs)
        if not alone and isinstance(backend, backends.Overlapping):
            going = backend.submit(inputs)

        def answer() -> dict[str, NDArray[Any]]:
            try:
                found = going()
            except (
                Exception
            ) as error:  # a vendor raises anything; its words are the reason, and stay as the cause
                height, width = next(iter(picture.values())).shape[1:3]
                raise RunError(
                    "E_BACKEND_RUN",
                    f"{backend.description} failed on a picture of {width}x{height}",
                    str(error).strip() or type(error).__name__,
                    "try a smaller --size or another --backend",
                ) from error
            self._states = {state.name: found[state.next_name] for state in self.bundle.manifest.states}
            self._frames += 1
            return found

        return answer

    def _paint_tiles(self, image: Image) -> Image:
        assert self._tiling is not None
        height, width = (side * self._tiling.scale for side in image.shape[:2])
        painting = np.empty((height, width, 3), np.uint8)
        for tile in self._tiling:
            painting[tile.target] = self._paint_whole(image[tile.cut])[tile.middle]
        return painting

    @property
    def controls(self) -> dict[str, float | list[float]]:
        """The values now, by name."""
        return {
            name: value.tolist() if value.size > 1 else value.item() for name, value in self._controls.items()
        }

    def set(self, **values: float | Sequence[float] | NDArray[Any]) -> None:
        """Turn controls: a number, or as many as the control has. Takes effect with the next frame.

        Raises UsageError E_CONTROL_UNKNOWN, E_CONTROL_RANGE; then nothing has changed.
        """
        manifest = self.bundle.manifest
        known = {control.name: control for control in manifest.controls}
        made: dict[str, NDArray[np.float32]] = {}
        for name, value in values.items():
            if name not in known:
                raise UsageError(
                    "E_CONTROL_UNKNOWN",
                    f"style {manifest.name!r} has no control {name!r}{settings.nearest(name, known)}",
                    next=f"choose one of {', '.join(known)}"
                    if known
                    else "leave it out: this style has none",
                )
            made[name] = _control_value(known[name], value)
        self._controls.update(made)

    @property
    def post(self) -> Post:
        """What is done to each painting after the graph; see `finish`."""
        return self._post

    def finish(self, post: Post) -> None:
        """What becomes of each frame's painting afterwards: in the graph, where the style was exported with it."""
        inside, self._post = post.within(self._controls)
        self.set(**inside)
        if self._post:
            left = ", ".join(name for name, amount in self._post.amounts.items() if amount)
            self._no_planes = f"{left} work on RGB"

    def reset(self) -> None:
        """Forget what was remembered of earlier frames, as after a cut. Nothing to do for most styles."""
        if self._placement is None:
            return
        self._states = {
            state.name: np.zeros(resolve_shape(state.shape, *self._placement.tensor), state.dtype)
            for state in self.bundle.manifest.states
        }

    @property
    def report(self) -> Report:
        """What runs: only known once it does, after `open(size=...)` or the first frame."""
        if self._started is None or self._placement is None:
            raise RunError(
                "E_STYLIZER_IDLE",
                "there is nothing to report yet",
                "the stylizer starts with the first frame",
                "open it with size=(width, height), or paint first",
            )
        assert self._picture is not None
        height, width = self._picture
        degraded = [*self._started.backend.notes, *([self._no_winner] if self._no_winner else [])]
        if self._switched:
            degraded.append(self._switched)
        passed_over = dict(self._passed_over)
        if self._upgrade is not None:
            passed_over[self._upgrade.name] = self._upgrade.line
        if self._no_planes:
            degraded.append(f"the video's colours are converted to RGB and back: {self._no_planes}")
        if self._tiling:
            tile_height, tile_width = self._tiling.tile
            degraded.append(f"painted in {len(self._tiling)} tiles of {tile_width}x{tile_height}")
        if self._placement.shrinks:
            inner_height, inner_width = self._placement.inner
            degraded.append(
                f"painted at {inner_width}x{inner_height} and enlarged to {width}x{height}: "
                f"this style is made for {self._placement.tensor[1]}x{self._placement.tensor[0]} only"
            )
        return Report(
            style=self.bundle.manifest.name,
            line="; ".join(
                filter(None, (replace(self._started, passed_over=passed_over).line, self._measured))
            ),
            backend=self._started.name,
            precision=self._started.backend.precision,
            variant=self._started.variant.name,
            edges=self._started.variant.edges,
            size=(width, height),
            restarts=self._restarts,
            passed_over=passed_over,
            degraded=degraded,
        )

    def close(self) -> None:
        """Give the backend's memory back; an engine that is being built is not waited for."""
        self._drop_upgrade()
        if self._started is not None:
            self._started.backend.close()
        self._started, self._placement, self._picture, self._closed = None, None, None, True

    def __enter__(self) -> Stylizer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, picture: tuple[int, int]) -> None:
        """Start for pictures of this (height, width), in smaller tiles where memory is too short for it."""
        while True:
            try:
                return self._start_in(picture, self._tile_up(picture))
            except AllaPrimaError as error:
                if not (out_of_memory(error) and self._shrink_tiles(picture)):
                    raise

    def _takes(self, planes: Planes) -> bool:
        """Whether planes like these are painted as they are; where they are new, it starts for them."""
        if (self._picture, self._coding) == ((planes.height, planes.width), planes.coding):
            return True
        return self._starts_for_planes((planes.height, planes.width), planes.coding)

    def _starts_for_planes(self, picture: tuple[int, int], coding: Coding) -> bool:
        """Start for planes of this (height, width). False where they have to be converted, for the reason that is kept:
        then nothing has changed otherwise."""
        if self._no_planes:
            return False
        if self._closed or not place_planes(picture, self.bundle.manifest):
            any_size = any(one.edges == "planes" for one in self.bundle.manifest.variants)
            of = " of this size" if any_size else ""
            self._no_planes = f"style {self.bundle.manifest.name!r} has no variant for planes{of}"
        elif self._tile_up(picture):
            self._no_planes = "the picture is painted in tiles"
        else:
            try:
                self._start_in(picture, None, coding)
            except (
                UsageError,
                DeviceError,
            ) as error:  # if it is not for the planes, RGB fails in the same way
                self._no_planes = error.what if isinstance(error, UsageError) else error.why
        return not self._no_planes

    def _start_in(
        self, picture: tuple[int, int], tiling: Tiling | None, coding: Coding | None = None
    ) -> None:
        """Start for one size: sizes are built in, see the backends."""
        if self._closed:
            raise RunError("E_STYLIZER_CLOSED", "this stylizer is closed", next="open another one")
        manifest = self.bundle.manifest
        placement = (
            place_planes(picture, manifest)
            if coding is not None
            else place(tiling.tile if tiling else picture, manifest)
        )
        assert placement is not None
        if self._started is not None and self._placement is not None:
            self._restarts += 1
            if (placement.tensor, coding) == (self._placement.tensor, self._coding):
                # only laid in differently
                self._placement, self._picture, self._tiling = placement, picture, tiling
                self.reset()
                return
            self._started.backend.close()
        self._drop_upgrade()
        previous, self._started, self._placement, self._picture = self._started, None, None, None
        sample = self._sample(placement, coding)
        started = self._start_backend(sample, previous, coding, tiling.tile if tiling else picture)
        if previous is None or started.better is not None:
            self._passed_over = started.passed_over
        self._started, self._placement, self._picture, self._tiling = started, placement, picture, tiling
        self._coding = coding
        self.reset()
        self._frames_before = self._frames
        if started.better is not None and self._build:
            better = started.better
            self._wanted = partial(Upgrade, better, partial(self._start_better, sample, coding, better))

    def _start_backend(
        self,
        sample: dict[str, NDArray[Any]],
        previous: backends.Started | None,
        coding: Coding | None,
        size: tuple[int, int],
    ) -> backends.Started:
        """What was chosen once is kept: a new size must not change who paints. Unless nobody named it and it would
        have to build an engine first: then the next best paints meanwhile, as at the beginning."""
        how: dict[str, Any] = {
            "threads": self._threads,
            "coding": coding,
            "in_flight": self._in_flight,
            "build": self._build,
            "on_build": self._on_build,
        }
        if previous is None:
            if self._backend is None and self._precision is None:
                started = self._start_fastest(sample, coding, size, how)
                if started is not None:
                    return started
            return backends.start(self.bundle, sample, name=self._backend, precision=self._precision, **how)
        how["build"] = self._build and self._backend is not None
        try:
            precision = previous.backend.precision
            return backends.start(self.bundle, sample, name=previous.name, precision=precision, **how)
        except NotBuilt:
            if self._backend is not None:
                raise
        return backends.start(self.bundle, sample, precision=self._precision, **how)

    def _start_fastest(
        self,
        sample: dict[str, NDArray[Any]],
        coding: Coding | None,
        size: tuple[int, int],
        how: dict[str, Any],
    ) -> backends.Started | None:
        """What was measured to be fastest for pictures of this (height, width); None where nothing was, or where it
        does not start any more."""
        winner = recall(self.bundle, size[::-1], "rgb" if coding is None else "planes", self._threads)
        if winner is None:
            return None
        try:
            alone = narrowed(self.bundle, winner.variant)
            started = backends.start(
                alone, sample, name=winner.backend, precision=winner.precision, **{**how, "build": False}
            )
        except (UsageError, DeviceError) as error:
            self._measured, who = "", f"{winner.backend} in {winner.precision}"
            self._no_winner = (
                f"{who} was fastest on {winner.measured} and does not start: {error.why or error.what}"
            )
            return None
        self._measured, self._no_winner = winner.words, ""
        return started

    def _start_better(
        self, sample: dict[str, NDArray[Any]], coding: Coding | None, better: backends.Better, name: str
    ) -> backends.Started:
        """In the upgrade's thread: touches nothing of ours."""
        precision = better.request.key.precision
        how: dict[str, Any] = {
            "threads": self._threads,
            "coding": coding,
            "in_flight": self._in_flight,
            "build": False,
        }
        return backends.start(self.bundle, sample, name=name, precision=precision, **how)

    def _take_better(self, upgrade: Upgrade) -> None:
        """Between two frames: the better backend if it is ready. Memory and controls go on as they are."""
        if not upgrade.ready:
            return
        assert self._started is not None
        before = self._started.backend.description
        self._started = upgrade.exchange(self._started)
        self._passed_over = self._started.passed_over
        self._switched = (
            f"{before} painted the first {self._frames} frames, until the engine of {upgrade.name} was there"
        )
        self._upgrade = None

    def _drop_upgrade(self) -> None:
        self._wanted = None
        if self._upgrade is not None:
            self._upgrade.close()
            self._upgrade = None

    def _tile_up(self, picture: tuple[int, int]) -> Tiling | None:
        """How to cut a picture of this (height, width); None where it is painted whole."""
        if self._tile == 0 or not self._can_tile:
            return None
        geometry = self.bundle.manifest.geometry
        side = self._tile or best_side(picture, geometry, free_bytes())
        if side is None:
            return None
        tiling = tile_picture(picture, geometry, side)
        return tiling if len(tiling) > 1 else None

    def _shrink_tiles(self, picture: tuple[int, int]) -> bool:
        """Halve the tiles for all that comes; False where that is not possible any more."""
        side = max(self._tiling.tile if self._tiling else picture) // 2
        if not self._can_tile or self._tile == 0 or side < SMALLEST_SIDE:
            return False
        self._tile, self._picture = side, None
        return True

    @property
    def _can_tile(self) -> bool:
        """Not with memory from frame to frame, nor with a look at the whole picture, nor in built-in sizes only."""
        manifest = self.bundle.manifest
        open_size = any(variant.fixed is None for variant in manifest.for_pictures)
        return open_size and not manifest.states and not manifest.geometry.whole

    def _sample(self, placement: Placement, coding: Coding | None) -> dict[str, NDArray[Any]]:
        """Inputs to warm up with: a picture of many colours, the controls as they are, empty states."""
        manifest = self.bundle.manifest
        height, width = placement.tensor
        rows, columns = np.ogrid[0:height, 0:width]
        ramp = np.stack(
            np.broadcast_arrays(rows * 255 // height, columns * 255 // width, (rows + columns) % 256), axis=-1
        )
        states = {
            state.name: np.zeros(resolve_shape(state.shape, height, width), state.dtype)
            for state in manifest.states
        }
        image = ramp.astype(np.uint8)[np.newaxis]
        half = image[:, ::2, ::2]
        picture = {one.name: image for one in manifest.inputs}
        if coding is not None:
            picture = {"y": image[..., :1], "u": half[..., 1:2], "v": half[..., 2:]}
            picture = {name: np.ascontiguousarray(plane) for name, plane in picture.items()}
        return {**picture, **self._controls, **states}


def _parts(planes: Planes) -> dict[str, Image]:
    """As a graph takes them."""
    parts = {"y": planes.y, "u": planes.u, "v": planes.v}
    return {name: np.ascontiguousarray(part)[None, ..., None] for name, part in parts.items()}


def _planes_of(answer: Mapping[str, NDArray[Any]], coding: Coding) -> Planes:
    y, u, v = (answer[f"styled_{name}"][0, ..., 0] for name in ("y", "u", "v"))
    return Planes(y, u, v, coding)


def _check(image: Image) -> None:
    """Raises InputError E_INPUT_ARRAY for what is no picture."""
    if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and min(image.shape) > 0:
        return
    raise InputError(
        "E_INPUT_ARRAY",
        "cannot paint this array",
        f"it is {image.dtype} {list(image.shape)}; a picture is uint8 [height, width, 3], RGB, 0 to 255",
        "convert it first; pixels.from_unit makes bytes of floats from 0 to 1",
    )


def _control_value(control: Control, value: float | Sequence[float] | NDArray[Any]) -> NDArray[np.float32]:
    """A checked value as the graph takes it: float32 of the control's shape."""
    span = f"from {control.minimum:g} to {control.maximum:g}"
    why, next = f"it goes {span}", f"choose one in between; the default is {control.default:g}"
    try:
        numbers = np.asarray(value, dtype=np.float32)
        made = np.broadcast_to(numbers, control.shape)
    except (TypeError, ValueError):
        why = f"it takes {' x '.join(str(side) for side in control.shape)} numbers {span}"
        next = "give one for all of them, or as many as there are"
    else:
        if ((made >= control.minimum) & (made <= control.maximum)).all():  # False for NaN, too
            return np.ascontiguousarray(made)
    raise UsageError("E_CONTROL_RANGE", f"cannot set {control.name} to {value!r}", why, next)
