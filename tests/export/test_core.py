"""The pixel twins agree, folding changes nothing, and the traced graph is bare."""

import re

import numpy as np
import onnx
import pytest
import torch
import trained
from onnxruntime import InferenceSession

from allaprima import pixels
from allaprima.errors import QualityError, UsageError
from allaprima_export.core import IN, billion_macs, in_bytes, reach, require_finite, to_opset
from allaprima_export.float_edges import attach_float_edges
from allaprima_train import frame_model
from allaprima_train.generators.controls import as_tensors


def test_torch_and_numpy_agree_on_all_256_bytes_bit_for_bit() -> None:
    every = np.arange(256, dtype=np.uint8)
    unit = frame_model.to_unit(torch.from_numpy(every)).numpy()
    assert np.array_equal(unit.view(np.int32), pixels.to_unit(every).view(np.int32))
    assert np.array_equal(frame_model.from_unit(torch.from_numpy(unit)).numpy(), every)
    assert np.array_equal(pixels.from_unit(unit), every)


def test_torch_and_numpy_round_clip_and_treat_nan_alike() -> None:
    halves = (np.arange(-512, 1024, dtype=np.float32) / 2) / 255
    awkward = np.array([np.nan, np.inf, -np.inf, 1e30, -0.0, 300 / 255], np.float32)
    values = np.concatenate([halves, np.nextafter(halves, 2), np.nextafter(halves, -2), awkward])
    assert np.array_equal(frame_model.from_unit(torch.from_numpy(values)).numpy(), pixels.from_unit(values))


@pytest.mark.parametrize(("network", "size"), trained.NETWORKS, ids=trained.IDS)
def test_the_folded_network_is_the_branched_one(network: str, size: str) -> None:
    generator = trained.strong(network, size)
    x = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        branched, folded = generator(x), generator.folded()(x)
    assert float((folded - branched).abs().max()) < 1e-5  # 0.003 of a grey level


@pytest.mark.parametrize(("network", "size"), trained.NETWORKS, ids=trained.IDS)
def test_the_byte_network_answers_255_times_the_unit_network_and_leaves_it_alone(
    network: str, size: str
) -> None:
    generator = trained.strong(network, size)
    p = generator.period
    image = torch.randint(0, 256, (1, 48, 64, 3), generator=torch.Generator().manual_seed(1)).float()
    packed = torch.nn.functional.pixel_unshuffle(image.permute(0, 3, 1, 2), p)
    # (rows, columns, row, column, colour), as the edges pack it
    cells = image.reshape(1, 48 // p, p, 64 // p, p, 3).permute(0, 2, 4, 5, 1, 3).flatten(1, 3)
    with torch.no_grad():
        before = generator.packed_paint(packed / 255)
        ours = in_bytes(generator).packed_paint(cells)
        after = generator.packed_paint(packed / 255)
    q = p * generator.scale
    theirs = before.unflatten(1, (3, q * q)).transpose(1, 2).flatten(1, 2) * 255
    assert float((ours - theirs).abs().max()) < 2e-2
    assert torch.equal(before, after)


def test_nothing_of_the_exporting_machine_is_in_the_traced_graph() -> None:
    data = trained.traced("mobile", "nano").SerializeToString()
    assert not re.search(rb"site-packages|\.py|/home|/root|/tmp|stack_trace", data)


def test_an_opset_that_is_not_written_is_refused_with_those_that_are() -> None:
    with pytest.raises(UsageError, match="17 to 21") as caught:
        to_opset(trained.traced("mobile", "nano"), 16)
    assert caught.value.code == "E_EXPORT_OPSET"


def test_a_weight_that_is_nan_is_named() -> None:
    generator = trained.strong("mobile", "nano")
    with torch.no_grad():
        generator.head.filter[0, 0, 0, 0] = torch.nan
    with pytest.raises(QualityError, match=r"runs/x.*1 of its weights.*head\.filter \(1\)") as caught:
        require_finite(generator, "runs/x")
    assert caught.value.code == "E_WEIGHTS_FINITE"


def test_multiply_adds_are_counted_as_by_hand() -> None:
    by_hand = 48 * 32 * 9 * 180 * 320 * 2 + 32 * 64 * 9 * 90 * 160 + (8 * 64 * 64 + 64 * 128) * 9 * 90 * 160
    assert billion_macs(trained.strong("mobile", "small"), 720, 1280) == pytest.approx(by_hand / 1e9)


def test_reach_is_what_convolutions_can_see_and_unlimited_with_instance_norm() -> None:
    # 4 and 4 down, 8 blocks' convolutions and one up at 8 pixels, 4 at the end, and the rest of the cells
    assert 4 + 4 + 8 * 8 + 8 + 4 <= (reach(trained.strong("mobile", "small")) or 0) <= 100
    assert reach(trained.strong("resnet", "small")) is None


def test_the_traced_graph_has_open_height_and_width() -> None:
    model = trained.traced("mobile", "nano")
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [one.dim_value for one in shape[:2]] == [1, 48]
    assert all(one.dim_param for one in shape[2:])
    onnx.checker.check_model(model)


GRAPHS = ["domains", "codes"]


@pytest.mark.parametrize("network", GRAPHS)
@pytest.mark.parametrize("opset", [17, 21])
def test_graphs_of_controls_paint_the_same_in_every_opset(network: str, opset: int) -> None:
    """ONNX's converter knows no way back for Split, and older Splits do not know their number of parts."""
    core = trained.traced(network, "told")
    model = to_opset(core, opset)
    onnx.checker.check_model(model, full_check=True)
    assert {one.version for one in model.opset_import if not one.domain} == {opset}
    given = {IN: np.random.default_rng(0).random((1, 48, 12, 16), np.float32) * 255}
    controls = trained.told()[network].controls
    given |= {one.name: usual.numpy() for one, usual in zip(controls, as_tensors(controls), strict=True)}
    before, after = (
        InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, given)[0]
        for one in (core, model)
    )
    assert np.array_equal(before, after)


@pytest.mark.parametrize("network", GRAPHS)
def test_float_edges_have_what_webgpu_takes(network: str) -> None:
    """No step binds more buffers than eight, and a convolution says all about itself: Chromium tries it in
    test_browser.py."""
    generator = trained.told()[network]
    core = to_opset(trained.traced(network, "told"), 17)
    assert network != "domains" or any(len(node.output) > 7 for node in core.graph.node)
    model = attach_float_edges(
        core, period=generator.period, stride=generator.stride, margin=0, veil=generator.veil
    )
    assert all(len(node.input) + len(node.output) <= 8 for node in model.graph.node)
    for node in model.graph.node:
        if node.op_type == "Conv":
            said = {one.name for one in node.attribute}
            assert said >= {"dilations", "group", "pads", "strides"}, node.name
