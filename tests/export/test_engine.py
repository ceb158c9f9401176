"""TensorRT-RTX, the strictest reader of what we export, compiles every generator in every form; without any card."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import trained

from allaprima.engines import Cache, Range, Vendor, build_here, engine_request, load_flavour
from allaprima.onnx_file import inspect
from allaprima.onnx_floats import floats_inside
from allaprima_export.core import IN
from allaprima_export.edges import attach_edges
from allaprima_export.half import half
from allaprima_export.parity import Painter
from allaprima_export.planes import attach_planes
from allaprima_export.quantize import QUANTIZERS, quantize

CAPABILITIES = (80, 86, 89, 120)


@pytest.fixture(scope="module")
def rtx() -> Vendor:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: pip install 'allaprima[rtx]'")
    return load_flavour("rtx")


@pytest.fixture
def cache_here(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "engines")


def edges(generator: Any) -> dict[str, Any]:
    return {name: getattr(generator, name) for name in ("period", "stride", "margin", "veil", "scale")}


@cache
def model(network: str, size: str, precision: str, fixed: tuple[int, int] | None = None) -> bytes:
    core = MADE[precision](trained.traced(network, size))
    return attach_edges(core, **edges(trained.strong(network, size)), fixed=fixed).SerializeToString()


def quantized(core: onnx.ModelProto, quantizer: str = "ort") -> onnx.ModelProto:
    """As `allaprima export --variants int8` does it, with two pictures of noise."""
    channels = core.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    chance = np.random.default_rng(0)
    frames = [{IN: chance.integers(0, 256, (1, channels, 16, 16)).astype(np.float32)} for _ in range(2)]
    return quantize(quantizer, core, frames)


MADE = {"fp32": lambda core: core, "fp16": half, "int8": quantized}
FOR_TENSORRT = [
    name for name, row in QUANTIZERS.items() if "tensorrt" in row.targets and find_spec(row.module)
]


def build(cache_here: Cache, rtx: Vendor, data: bytes, sm: int, *sizes: tuple[int, int]) -> Any:
    """One size is built in; three are a range. Sizes by their names in the graph; u and v have half of them."""
    ranges: dict[str, Any] = {}
    for name, shape in inspect(data, "a test").inputs.items():
        low, middle, high = (
            tuple(numbers(side, size, name) for side in shape)
            for size in (sizes if len(sizes) == 3 else sizes * 3)
        )
        ranges[name] = Range(least=low, best=middle, most=high)
    wanted = engine_request(data, ranges, precision="fp32", vendor=rtx, gpu=None, sm=sm)
    entry = build_here(wanted, cache_here, rtx)
    assert cache_here.load(entry)
    return entry


def numbers(side: int | str, size: tuple[int, int], name: str) -> int:
    if isinstance(side, int):
        return side
    value = size["width" in side]
    return -(-value // 2) if name in ("u", "v") else value


@pytest.mark.parametrize("precision", list(MADE))
@pytest.mark.parametrize(("network", "size"), trained.NETWORKS, ids=trained.IDS)
def test_every_generator_compiles_in_every_precision(
    cache_here: Cache, rtx: Vendor, network: str, size: str, precision: str
) -> None:
    """fp32 as a range, where all shapes are computed; its precisions with the size built in, for the time it takes."""
    sizes = ((16, 16), (60, 96), (128, 128)) if precision == "fp32" else ((61, 93),)
    build(cache_here, rtx, model(network, size, precision), 89, *sizes)


@pytest.mark.parametrize("sm", CAPABILITIES)
@pytest.mark.parametrize("precision", list(MADE))
def test_the_shipped_kind_compiles_for_every_card(
    cache_here: Cache, rtx: Vendor, precision: str, sm: int
) -> None:
    build(cache_here, rtx, model("mobile", "small", precision), sm, (720, 1280))
    build(cache_here, rtx, model("mobile", "small", precision, (64, 96)), sm, (64, 96))


@pytest.mark.parametrize("quantizer", FOR_TENSORRT)
def test_every_quantizer_for_tensorrt_makes_what_its_parser_takes(
    cache_here: Cache, rtx: Vendor, quantizer: str
) -> None:
    core = quantized(trained.traced("mobile", "nano"), quantizer)
    data = attach_edges(core, **edges(trained.strong("mobile", "nano"))).SerializeToString()
    build(cache_here, rtx, data, 89, (64, 96))
    image = trained.soft(61, 93)
    given = floats_inside(data)
    assert given != data
    assert np.array_equal(
        Painter(given, "ort", "fp32").paint(image), Painter(data, "ort", "fp32").paint(image)
    )


def test_planes_compile_built_in_and_as_a_range(cache_here: Cache, rtx: Vendor) -> None:
    generator = trained.strong("mobile", "nano")
    given = {name: value for name, value in edges(generator).items() if name != "scale"}
    for make in (lambda core: core, half):
        data = attach_planes(make(trained.traced("mobile", "nano")), **given).SerializeToString()
        for sizes in [((64, 96),), ((32, 32), (64, 96), (128, 128))]:
            build(cache_here, rtx, data, 89, *sizes)


@pytest.mark.parametrize("precision", list(MADE))
@pytest.mark.parametrize(("network", "size"), trained.NETWORKS, ids=trained.IDS)
def test_what_tensorrt_gets_paints_the_same_bits_as_the_bundles_own(
    network: str, size: str, precision: str
) -> None:
    data = model(network, size, precision)
    for shape in ((17, 23), (61, 93)):
        image = trained.soft(*shape)
        before = Painter(data, "ort", "fp32").paint(image)
        assert np.array_equal(Painter(floats_inside(data), "ort", "fp32").paint(image), before)
