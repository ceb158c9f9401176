"""The exported graph paints what torch paints: every network, backend, opset and awkward size."""

from functools import cache

import numpy as np
import onnx
import pytest
import trained

from allaprima import backends
from allaprima.errors import DeviceError
from allaprima_export.core import OPSETS, OUT, to_opset
from allaprima_export.edges import attach_edges
from allaprima_export.half import IN_FP32, half
from allaprima_export.inside import all_finite
from allaprima_export.parity import Painter, Reference
from allaprima_export.scenes import checker, scenes


def _startable() -> list[tuple[str, str]]:
    """Every backend here with every precision that it can run the fp32 and fp16 files in."""
    found = []
    for name in backends.BACKENDS:
        try:
            kind, device = backends.load(name)
            found += [(name, one) for one in kind.precisions(device) if one != "int8"]
        except DeviceError:
            continue
    return found


EVERY = _startable()
FP32 = [pair for pair in EVERY if pair[1] == "fp32"]


@cache
def model(network: str, size: str, opset: int = 18, fixed: tuple[int, int] | None = None, fp16: bool = False):
    generator = trained.strong(network, size)
    core = to_opset(trained.traced(network, size), opset)
    return attach_edges(
        half(core) if fp16 else core,
        period=generator.period,
        stride=generator.stride,
        margin=generator.margin,
        veil=generator.veil,
        scale=generator.scale,
        fixed=fixed,
    )


@cache
def reference(network: str, size: str) -> Reference:
    return Reference(trained.strong(network, size))


def difference(image: np.ndarray, expected: np.ndarray) -> int:
    assert image.shape == expected.shape
    return int(np.abs(image.astype(int) - expected.astype(int)).max())


@pytest.mark.parametrize(("backend", "precision"), FP32)
@pytest.mark.parametrize("shape", trained.SIZES, ids=str)
@pytest.mark.parametrize(("network", "size"), trained.NETWORKS, ids=trained.IDS)
def test_exported_paints_like_torch_within_one(network, size, shape, backend, precision) -> None:
    image = trained.soft(*shape)
    expected = reference(network, size).paint(image, "test")
    scale = trained.strong(network, size).scale
    assert difference(expected, image.repeat(scale, 0).repeat(scale, 1)) > 5  # it does paint
    styled = Painter(model(network, size).SerializeToString(), backend, precision).paint(image)
    assert difference(styled, expected) <= 1
    assert (styled == expected).mean() > 0.99


@pytest.mark.parametrize(("backend", "precision"), EVERY)
@pytest.mark.parametrize(
    ("network", "size"), [("mobile", "nano"), ("resnet", "small"), ("restorer", "nano-x2")]
)
def test_strength_zero_gives_the_picture_back_bit_for_bit(network, size, backend, precision) -> None:
    scale = trained.strong(network, size).scale
    painter = Painter(model(network, size, fp16=precision == "fp16").SerializeToString(), backend, precision)
    for image in (
        trained.soft(61, 93),
        checker(32, 48),
        np.arange(256 * 3, dtype=np.uint8).reshape(16, 16, 3),
    ):
        assert np.array_equal(painter.paint(image, 0.0), image.repeat(scale, 0).repeat(scale, 1))


@pytest.mark.parametrize(("backend", "precision"), FP32)
def test_half_strength_lies_between_picture_and_painting(backend, precision) -> None:
    image = trained.soft(61, 93)
    painter = Painter(model("mobile", "nano").SerializeToString(), backend, precision)
    expected = reference("mobile", "nano").paint(image, "test", strength=0.5)
    painted, halfway = painter.paint(image), painter.paint(image, 0.5)
    assert difference(halfway, expected) <= 1
    unclipped = (painted > 0) & (painted < 255)
    middle = (image.astype(float) + painted) / 2
    assert np.abs(halfway - middle)[unclipped].max() <= 1


@pytest.mark.parametrize(
    ("network", "size"), [("mobile", "nano"), ("resnet", "small"), ("restorer", "nano-x2")]
)
def test_a_built_in_size_computes_no_shape_and_paints_the_same(network, size) -> None:
    image = trained.soft(61, 93)
    fixed = model(network, size, fixed=(61, 93))
    operators = {node.op_type for node in fixed.graph.node}
    own = {"Gather", "Concat"} if network == "restorer" else set()  # the enlarged picture, the straight way
    assert not operators & ({"Shape", "Concat", "Gather", "Mod", "Div", "ConstantOfShape"} - own)
    used = {name for node in fixed.graph.node for name in node.input}
    assert {one.name for one in fixed.graph.initializer} <= used
    assert [one.dim_value for one in fixed.graph.input[0].type.tensor_type.shape.dim] == [1, 61, 93, 3]
    any_size = Painter(model(network, size).SerializeToString(), "ort", "fp32").paint(image)
    assert np.array_equal(Painter(fixed.SerializeToString(), "ort", "fp32").paint(image), any_size)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("network", ["mobile", "resnet"])
def test_every_opset_is_what_it_says_and_paints_the_same(network, opset) -> None:
    size = "nano" if network == "mobile" else "small"
    made = model(network, size, opset)
    assert [(one.domain, one.version) for one in made.opset_import] == [("", opset)]
    assert made.ir_version <= 10
    image = trained.soft(17, 23)
    styled = Painter(made.SerializeToString(), "ort", "fp32").paint(image)
    assert difference(styled, reference(network, size).paint(image, "test")) <= 1


@pytest.mark.parametrize("name", list(scenes()))
def test_fp16_survives_every_drawn_scene(name) -> None:
    image = scenes()[name]
    styled = Painter(model("mobile", "nano", fp16=True).SerializeToString(), "ort", "fp16").paint(image)
    assert difference(styled, reference("mobile", "nano").paint(image, name)) <= 6


@pytest.mark.parametrize(("network", "size"), trained.NETWORKS, ids=trained.IDS)
def test_fp16_of_every_generator_survives_the_most_contrast_that_there_is(network, size) -> None:
    made = model(network, size, fp16=True)
    painter = Painter(made.SerializeToString(), "ort", "fp16")
    pictures = [checker(64, 96, side=1), checker(64, 96, side=4), np.full((64, 96, 3), 255, np.uint8)]
    assert all_finite(made, OUT, pictures, ())
    for image in pictures:
        expected = reference(network, size).paint(image, "contrast")
        assert np.abs(painter.paint(image).astype(int) - expected).mean() < 1


def test_fp16_keeps_the_statistics_of_normalisation_in_fp32() -> None:
    made = onnx.shape_inference.infer_shapes(model("resnet", "small", fp16=True), strict_mode=True)
    graph = made.graph
    kinds = {one.name: one.type.tensor_type.elem_type for one in graph.value_info}
    kinds |= {one.name: one.data_type for one in graph.initializer}
    seen = {node.op_type: {kinds[name] for name in node.input if name in kinds} for node in graph.node}
    assert seen["InstanceNormalization"] == {onnx.TensorProto.FLOAT}
    assert "InstanceNormalization" in IN_FP32
    assert seen["Conv"] == {onnx.TensorProto.FLOAT16}
    image = checker(64, 96, side=1)  # 0 and 255 pixel by pixel: squares overflow fp16 at once
    styled = Painter(made.SerializeToString(), "ort", "fp16").paint(image)
    assert difference(styled, reference("resnet", "small").paint(image, "checker")) <= 6


def test_fp16_is_half_the_size() -> None:
    whole, small = (model("mobile", "small", fp16=fp16).ByteSize() for fp16 in (False, True))
    assert small < 0.52 * whole
