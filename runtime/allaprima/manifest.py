"""The manifest: what a bundle promises, as frozen dataclasses. docs/bundle.md is the same in prose.

It is `manifest.json` at the root of a bundle and travels inside every ONNX file of it, because people copy
only the `.onnx`. It knows nothing of how a model is run.

    manifest = Manifest.from_json(data, where="starry.prima/manifest.json")   # strict; raises BundleError
    data = manifest.to_json()
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Gt, Le, MinLen

from . import settings
from .errors import BundleError, UsageError
from .metrics import Difference
from .onnx_file import MAX_IR_VERSION

__all__ = [
    "COLOUR_CONSTANTS",
    "FORMAT_VERSION",
    "METADATA_MANIFEST",
    "METADATA_VARIANT",
    "Control",
    "FileRecord",
    "Geometry",
    "Golden",
    "Licence",
    "Lineage",
    "Manifest",
    "Parity",
    "Plan",
    "Shape",
    "State",
    "Tensor",
    "TensorSpec",
    "Tolerance",
    "Variant",
    "is_safe_name",
    "resolve_shape",
]

FORMAT = "allaprima-bundle"
FORMAT_VERSION = 1

METADATA_MANIFEST = "allaprima.manifest"
"""Key in the ONNX file's metadata: the manifest without `files` (none can hold its own hash)."""
METADATA_VARIANT = "allaprima.variant"
"""Key in the ONNX file's metadata: the name of the variant that this file is."""

Shape = tuple[int | str, ...]
"""Numbers, or sizes that follow the picture: `height`, `width`, `2*height`, `height/4` (rounded up)."""

COLOUR_CONSTANTS = {"rgb_from_yuv": (3, 3), "yuv_from_rgb": (3, 3), "yuv_of_black": (3,)}
"""Weights that a graph with planes must have by these names, float32: what its numbers mean, see `planes.Rules`.
In the file they are BT.709 of limited range; a runtime writes others in before it loads the file."""


class Tensor(NamedTuple):
    """An input or output of a graph."""

    shape: Shape
    dtype: str


NonNegative = Annotated[int, Ge(0)]
Positive = Annotated[int, Ge(1)]
Words = Annotated[str, MinLen(1)]

# What a stranger's bundle may make a runtime allocate before anything is painted.
MAX_SIDE = 8192
MAX_CONTROL_NUMBERS = 4096
MAX_STATE_NUMBERS_PER_PIXEL = 64
MAX_INPUTS = 64
MAX_PICTURES = 8
Side = Annotated[int, Ge(1), Le(MAX_SIDE)]


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far a picture may be from its reference; every limit holds for every picture."""

    psnr_db: Annotated[float, Ge(0), Le(100)]
    """At least; `metrics.psnr`."""
    ssim: Annotated[float, Ge(-1), Le(1)]
    """At least; `metrics.ssim`."""
    max_difference: Annotated[int, Ge(0), Le(255)] | None = None
    """At most, in byte values, for the worst byte. None: no limit (reduced precision has outliers)."""

    def holds(self, difference: Difference) -> bool:
        return (
            difference.psnr_db >= self.psnr_db
            and difference.ssim >= self.ssim
            and (self.max_difference is None or difference.max_difference <= self.max_difference)
        )


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How a variant compares with what it was made from, on pictures that it had never seen.

    Truthy when within tolerance; a bundle cannot be sealed with a falsy one.
    """

    psnr_db: float
    """The lowest of all pictures."""
    ssim: float
    """The lowest of all pictures."""
    max_difference: NonNegative
    """The largest of all pictures, in byte values."""
    frames: Positive
    """How many pictures were compared."""
    against: Words
    """The reference, in words: `torch fp32`."""
    tolerance: Tolerance

    @classmethod
    def of(cls, differences: Iterable[Difference], *, against: str, tolerance: Tolerance) -> Parity:
        """The worst of each figure over all pictures."""
        seen = list(differences)
        return cls(
            psnr_db=min(difference.psnr_db for difference in seen),
            ssim=min(difference.ssim for difference in seen),
            max_difference=max(difference.max_difference for difference in seen),
            frames=len(seen),
            against=against,
            tolerance=tolerance,
        )

    def __bool__(self) -> bool:
        return self.tolerance.holds(Difference(self.psnr_db, self.ssim, self.max_difference))


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """A picture that goes into or comes out of the graph: bytes, channels last, full range."""

    name: Words
    shape: Shape
    """`[1, "height", "width", 3]`."""
    dtype: Literal["uint8"] = "uint8"
    layout: Literal["NHWC"] = "NHWC"
    color: Literal["RGB"] = "RGB"
    range: tuple[int, int] = (0, 255)

    def __post_init__(self) -> None:
        resolve_shape(self.shape, 64, 64)


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Which picture sizes the graphs take and what they do with them."""

    minimum: Annotated[int, Ge(1), Le(1024)] = 16
    """Smallest height and width. A runtime pads smaller pictures by `padding` and crops the answer."""
    multiple_of: Annotated[int, Ge(1), Le(1024)] = 1
    """What height and width have to be multiples of. 1 where the graph pads and crops inside, as ours do."""
    scale: Annotated[int, Ge(1), Le(8)] = 1
    """The answer's height and width over the picture's."""
    padding: Literal["edge"] = "edge"
    """What lies beyond the border: the border's own pixels, repeated. Never a stretch."""
    margin: NonNegative = 0
    """Pixels beyond a pixel that can change it: how far tiles have to overlap."""
    stride: Positive = 1
    """Tiles that begin at multiples of this see the same grid as the whole picture."""
    whole: bool = False
    """Whether a pixel depends on the whole picture (instance norm): tiles of it would not fit together."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """A number that the user turns while painting: a float32 input of the graph."""

    name: Words
    default: float
    minimum: float = 0.0
    maximum: float = 1.0
    help: Words
    """What it does, for `--help` and sliders."""
    shape: tuple[Positive, ...] = (1,)
    dtype: Literal["float32"] = "float32"
    labels: tuple[Words, ...] = ()
    """What each number stands for, where they stand for different things: the domains of a mixture."""
    defaults: tuple[float, ...] = ()
    """The default number by number, where they differ; `default` then only stands in for it on one slider."""

    def __post_init__(self) -> None:
        count = math.prod(self.shape)
        if count > MAX_CONTROL_NUMBERS:
            raise ValueError(f"control {self.name!r} has more than {MAX_CONTROL_NUMBERS} numbers")
        for default in (self.default, *self.defaults):
            if not self.minimum <= default <= self.maximum:
                raise ValueError(
                    f"control {self.name!r}: the default {default} is outside {self.minimum}..{self.maximum}"
                )
        for what, values in (("labels", self.labels), ("defaults", self.defaults)):
            if len(values) not in (0, count):
                raise ValueError(f"control {self.name!r} has {count} numbers and {len(values)} `{what}`")

    @property
    def initial(self) -> tuple[float, ...]:
        """The value before anybody turns it, all numbers in the order of memory."""
        return self.defaults or (self.default,) * math.prod(self.shape)


@dataclass(frozen=True, kw_only=True)
class State:
    """Memory from frame to frame: the graph's input `NAME`, and its output `NAME_next` of the same shape.

    The first frame, and the first after a cut, gets zeros; every other one gets what the frame before gave
    as `NAME_next`.
    """

    name: Words
    shape: Shape
    dtype: Literal["float32", "float16", "uint8"] = "float32"

    def __post_init__(self) -> None:
        numbers = resolve_shape(self.shape, 1024, 1024)
        if min(numbers, default=1) < 1:
            raise ValueError(f"state {self.name!r} has a size below 1")
        if math.prod(numbers) > MAX_STATE_NUMBERS_PER_PIXEL * 1024 * 1024:
            raise ValueError(
                f"state {self.name!r} has more than {MAX_STATE_NUMBERS_PER_PIXEL} numbers for each pixel"
            )

    @property
    def next_name(self) -> str:
        return f"{self.name}_next"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How an int8 variant was made, so that it can be made again the same."""

    quantizer: Words
    """`nncf 3.4.0`."""
    calibration: Words
    """The pictures that the ranges of its numbers were measured on: never those that it was judged on."""
    keep: tuple[Words, ...] = ()
    """The layers that stay in floating point, by the names of their weights. Empty: none needs to."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One ONNX file. Those of the same edges have the same inputs and outputs by name, type and meaning."""

    name: Words
    """`fp32`, `fp16`, `int8`; of a fixed size `fp32-720x1280` (height x width)."""
    file: Words
    precision: Literal["fp32", "fp16", "int8"]
    """The type of the weights in the file; a backend may compute in another one."""
    opset: Positive
    ir_version: Annotated[int, Ge(1), Le(MAX_IR_VERSION)]
    parity: Parity
    fixed: tuple[Side, Side] | None = None
    """(height, width) where these are built in; None where the graph takes any size."""
    edges: Literal["rgb", "planes", "float"] = "rgb"
    """How pictures go in and come out: bytes as `Manifest.inputs` and `outputs` say, YUV 4:2:0, or for programs that
    convert themselves floats from 0 to 1 (see `takes`)."""
    made_for: tuple[Words, ...] = ()
    """The backends that it was measured faster on than every other variant; empty: any."""
    plan: Plan | None = None
    """Of int8 variants."""
    profile: str = ""
    """`portable`, `mobile`, `web`, `float`: the kind of program that it is for; empty: this runtime and all others."""

    def serves(self, backend: str) -> bool:
        """Whether it is for that backend by what was measured; a user may ask for it all the same."""
        return not self.made_for or backend in self.made_for


@dataclass(frozen=True, kw_only=True)
class Golden:
    """A picture and what the reference makes of it: everybody's conformance test."""

    image: Words
    """PNG, RGB."""
    styled: Words
    """PNG, RGB: the reference's answer (not a variant's)."""
    others: tuple[Words, ...] = ()
    """PNG, RGB, of the same size: for the second of `inputs`, the third, ..."""
    planes: str | None = None
    """For variants with planes: PNG whose channels are Y, U and V, with every sample of U and V in its 2x2 pixels."""
    styled_planes: str | None = None
    """The reference's answer to it, stored alike."""
    controls: dict[str, float]
    """The values of the controls; those that are not named have their default."""
    tolerances: dict[Literal["fp32", "bf16", "fp16", "int8"], Tolerance]
    """How near an answer has to come, by the precision that it was computed in."""


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """Where the weights come from, so that they can be made again and judged."""

    method: Words
    """The training method: `perceptual`."""
    recipe: Words
    """The recipe as used: a file of the bundle."""
    network: Words
    """Generator and size: `mobile-small`."""
    parameters: Positive
    gmac_720p: Annotated[float, Gt(0)]
    """Billions of multiply-adds for one 1280x720 picture."""
    style: tuple[str, ...]
    """The pictures of the style: title, author, year, source."""
    content: Words
    """The pictures that it was trained on."""
    features: Words
    """The feature network of the losses; `none` where there is none."""
    steps: NonNegative
    """Of training; 0 where nobody has stated it."""
    trained: Words
    """The day, `YYYY-MM-DD`; `not stated` of networks that were imported."""
    notes: str = ""


@dataclass(frozen=True, kw_only=True)
class Licence:
    """What may be done with the bundle, and with what went into it."""

    bundle: Words
    """SPDX identifier: `Apache-2.0`, `CC0-1.0`."""
    weights: Words
    """Terms of the weights, in words."""
    style: Words
    """Terms of the style pictures."""
    content: Words
    """Terms of the training pictures."""


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    sha256: Words
    bytes: NonNegative


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Everything a bundle promises."""

    format: Literal["allaprima-bundle"] = "allaprima-bundle"
    format_version: Positive = FORMAT_VERSION
    name: str
    """What users type: small letters, digits, hyphens."""
    title: Words
    """What users read."""
    version: Words
    """The style's own version."""
    created: Words
    """Time of packing, ISO 8601 in UTC."""
    tool: dict[str, str]
    """Names and versions of the programs that made it."""
    inputs: tuple[TensorSpec, ...]
    """The pictures that go in: one, or as many as the style makes one of, all of one size. Controls and states are
    inputs of the graph as well, listed on their own."""
    outputs: tuple[TensorSpec, ...]
    geometry: Geometry
    controls: tuple[Control, ...] = ()
    states: tuple[State, ...] = ()
    variants: tuple[Variant, ...]
    """At least one. Best first: the first one of a precision is the one to use for any size."""
    golden: Golden | None
    """None only where an ONNX file is opened on its own."""
    lineage: Lineage
    licence: Licence
    files: dict[str, FileRecord] = field(default_factory=dict)
    """Every file of the bundle but manifest.json. Empty inside an ONNX file."""

    @property
    def styles(self) -> dict[str, dict[str, tuple[float, ...]]]:
        """What it paints: label -> values of the control that chooses it; "" -> {} where there is nothing to choose."""
        control = next((one for one in self.controls if one.labels), None)
        if control is None:
            return {"": {}}
        chosen = range(len(control.labels))
        return {
            label: {control.name: tuple(float(place == other) for other in chosen)}
            for place, label in enumerate(control.labels)
        }

    def __post_init__(self) -> None:
        """What no single field can know. ValueError in the words of the file, for `from_json` to pass on."""
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name):
            raise ValueError(
                f"the name {self.name!r} is not made of small letters, digits and single hyphens"
            )
        if not self.variants:
            raise ValueError("there is no variant in `variants`")
        if not 1 <= len(self.inputs) <= MAX_PICTURES or len(self.outputs) != 1:
            raise ValueError(
                f"format version 1 has 1 to {MAX_PICTURES} pictures in `inputs` and exactly one in `outputs`"
            )
        for picture in self.inputs:
            _refuse_other_shape("inputs", picture, 1)
        _refuse_other_shape("outputs", self.outputs[0], self.geometry.scale)
        if len(self.controls) > MAX_INPUTS or len(self.states) > MAX_INPUTS:
            raise ValueError(f"there are more than {MAX_INPUTS} `controls` or `states`")
        edges = {variant.edges for variant in self.variants}
        if self.golden and "rgb" not in edges:
            raise ValueError("there is no variant with edges 'rgb' in `variants`")
        if self.golden and "planes" in edges and not (self.golden.planes and self.golden.styled_planes):
            raise ValueError("[golden] has no `planes` and `styled_planes`, and a variant has edges 'planes'")
        if len(self.inputs) > 1 and "planes" in edges:
            raise ValueError("a variant has edges 'planes', and there are several pictures in `inputs`")
        if self.golden and len(self.golden.others) != len(self.inputs) - 1:
            raise ValueError("[golden] has to have one picture for each of `inputs`")
        pictures = [tensor.name for tensor in self.inputs] + (["y", "u", "v"] if "planes" in edges else [])
        controls = [control.name for control in self.controls]
        states = [state.name for state in self.states]
        _refuse_twice("inputs", [*pictures, *controls, *states])
        _refuse_twice("variants", [variant.name for variant in self.variants])
        _refuse_twice("files (capitals aside)", [name.lower() for name in self.files])
        for name in (*self.files, *self.references()):
            if not is_safe_name(name):
                raise ValueError(
                    f"{name!r} is not a plain relative file name of letters, digits, `.`, `_`, `-`"
                )
        if self.golden:
            for name in self.golden.controls:
                if name not in controls:
                    raise ValueError(f"[golden] sets {name!r}, which is not a control")

    def takes(self, variant: Variant) -> dict[str, Tensor]:
        """Everything that the graph of `variant` has to be fed, by name; the picture first."""
        states = {state.name: Tensor(state.shape, state.dtype) for state in self.states}
        controls = {control.name: Tensor(control.shape, control.dtype) for control in self.controls}
        return {**self._pictures(variant, self.inputs, "", 1), **controls, **states}

    def gives(self, variant: Variant) -> dict[str, Tensor]:
        """Everything that the graph of `variant` answers, by name; the picture first."""
        states = {state.next_name: Tensor(state.shape, state.dtype) for state in self.states}
        return {**self._pictures(variant, self.outputs, "styled_", self.geometry.scale), **states}

    def _pictures(
        self, variant: Variant, pictures: tuple[TensorSpec, ...], prefix: str, scale: int
    ) -> dict[str, Tensor]:
        if variant.edges == "rgb":
            return {one.name: Tensor(one.shape, one.dtype) for one in pictures}
        times = "" if scale == 1 else f"{scale}*"
        height, width = f"{times}height", f"{times}width"
        if variant.edges == "float":
            return {one.name: Tensor((1, 3, height, width), "float32") for one in pictures}
        return {
            f"{prefix}y": Tensor((1, height, width, 1), "uint8"),
            f"{prefix}u": Tensor((1, f"{height}/2", f"{width}/2", 1), "uint8"),
            f"{prefix}v": Tensor((1, f"{height}/2", f"{width}/2", 1), "uint8"),
        }

    @property
    def for_pictures(self) -> tuple[Variant, ...]:
        """The variants that take and give pictures as bytes: all that a runtime paints with."""
        return tuple(variant for variant in self.variants if variant.edges == "rgb")

    def references(self) -> tuple[str, ...]:
        """The files that this manifest speaks of by name; a bundle has to hold all of them."""
        golden = self.golden
        pairs = (
            (golden.image, golden.styled, *golden.others, golden.planes, golden.styled_planes)
            if golden
            else ()
        )
        pictures = [name for name in pairs if name is not None]
        return (*(variant.file for variant in self.variants), *pictures, self.lineage.recipe)

    def to_json(self) -> bytes:
        """UTF-8 JSON, indented, ending in a newline."""
        return (json.dumps(settings.write(self), indent=2, ensure_ascii=False) + "\n").encode()

    def metadata(self, variant: str) -> dict[str, str]:
        """What the ONNX file of `variant` carries in its `metadata_props`."""
        within = replace(self, files={})
        return {METADATA_MANIFEST: within.to_json().decode(), METADATA_VARIANT: variant}

    @classmethod
    def from_json(cls, data: bytes | str, where: str) -> Manifest:
        """Read strictly; `where` names the file in messages.

        Raises BundleError: E_BUNDLE_MANIFEST with everything that is wrong, E_BUNDLE_NEWER for a format
        version that this program does not know.
        """
        table = _parse(data, where)
        if table.get("format") != FORMAT:
            raise BundleError(
                "E_BUNDLE_MANIFEST",
                f"{where} is not a bundle's manifest",
                f'it does not say "format": "{FORMAT}"',
                "export the style again with allaprima export",
            )
        version = table.get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise BundleError(
                "E_BUNDLE_NEWER",
                f"cannot read {where}",
                f"a newer allaprima made it (bundle format {version}; this one reads {FORMAT_VERSION})",
                "upgrade: pip install --upgrade allaprima",
            )
        _refuse_control_characters(table, where)
        try:
            return settings.read(cls, table, where)
        except UsageError as error:
            raise BundleError(
                "E_BUNDLE_MANIFEST",
                error.what,
                next="get the bundle again, or export it again with allaprima export",
            ) from None


def resolve_shape(shape: Shape, height: int, width: int) -> tuple[int, ...]:
    """The numbers of a shape for a picture of that size; ValueError for a size that is not understood."""
    return tuple(
        dimension if isinstance(dimension, int) else _resolve(dimension, height, width) for dimension in shape
    )


_SIZE = re.compile(r"(?:([1-9]\d{0,2})\*)?(height|width)(?:/([1-9]\d{0,2}))?")


def _resolve(dimension: str, height: int, width: int) -> int:
    found = _SIZE.fullmatch(dimension)
    if not found:
        raise ValueError(f"the size {dimension!r} is none of height, width, 2*height, height/4, ...")
    times, side, divisor = found.groups()
    return -(-(height if side == "height" else width) * int(times or 1) // int(divisor or 1))  # rounded up


_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,99}){0,2}")


def is_safe_name(name: str) -> bool:
    """Whether a name inside a bundle is one on every system: relative, no `..`, no drive, no link to home."""
    return bool(_SAFE_NAME.fullmatch(name))


def _refuse_twice(what: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is the name of two {what}")


def _refuse_other_shape(what: str, picture: TensorSpec, scale: int) -> None:
    height, width = ("height", "width") if scale == 1 else (f"{scale}*height", f"{scale}*width")
    if picture.shape != (1, height, width, 3):
        raise ValueError(
            f"the shape of {picture.name!r} in `{what}` is {list(picture.shape)} "
            f"and has to be [1, {height}, {width}, 3]"
        )


_BIDIRECTIONAL = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def _refuse_control_characters(table: dict[str, Any], where: str) -> None:
    """Titles and names are printed: none may move the cursor or turn the words around it."""
    left: list[tuple[str, Any]] = list(table.items())
    while left:
        place, value = left.pop()
        texts = [place, value] if isinstance(value, str) else [place]
        # recipes' words on lineage and licence may have several lines
        lines = "\n\t" if place.startswith(("lineage.", "licence.")) else ""
        for character in "".join(texts):
            if character in lines:
                continue
            if unicodedata.category(character) in ("Cc", "Cs") or character in _BIDIRECTIONAL:
                raise BundleError(
                    "E_BUNDLE_MANIFEST",
                    f"cannot read {where}",
                    f"{place!a} holds the control character {character!a}",
                    "get the bundle again, or export it again with allaprima export",
                )
        if isinstance(value, dict):
            left += [(f"{place}.{key}", item) for key, item in value.items()]
        elif isinstance(value, list):
            left += [(f"{place}.{index}", item) for index, item in enumerate(value)]


def _parse(data: bytes | str, where: str) -> dict[str, Any]:
    try:
        table = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(
            "E_BUNDLE_MANIFEST", f"cannot read {where}", f"it is not JSON: {error}", "get the bundle again"
        ) from None
    if not isinstance(table, dict):
        raise BundleError(
            "E_BUNDLE_MANIFEST", f"cannot read {where}", "it is not a JSON object", "get the bundle again"
        )
    return table
