"""Small bundles for tests, made from arithmetic: a real ONNX graph with the exact contract, sealed for real.

The network is one 3x3 convolution with known weights, so that a test can say what a pixel has to become.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as Pictures

from allaprima.archive import seal
from allaprima.backends import BACKENDS, load, start
from allaprima.bundle import Bundle
from allaprima.errors import DeviceError
from allaprima.manifest import (
    Control,
    Geometry,
    Golden,
    Licence,
    Lineage,
    Manifest,
    Parity,
    TensorSpec,
    Tolerance,
    Variant,
)
from allaprima.planes import LIMITED_BT709, Planes, rules

OPSET, IR = 18, 10
EXACT = Tolerance(psnr_db=48, ssim=0.99, max_difference=1)
NEAR = Tolerance(psnr_db=30, ssim=0.9)


def ramp(height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8: a picture in which every place and every channel differs."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 7 + columns, columns * 5 + 40, rows * 3 + columns * 2 + 90], axis=-1).astype(
        np.uint8
    )


def painted(image: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """The numpy twin of `frame_model`: blur by the 3x3 mean, swap red and blue, invert; mixed by strength."""
    padded = np.pad(image.astype(np.float32), ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = image.shape[:2]
    places = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    styled = 255 - np.mean(places, axis=0)[..., ::-1]
    mixed = image + strength * (styled - image)
    return np.clip(mixed + 0.5, 0, 255).astype(np.uint8)


def frame_model(
    *,
    precision: str = "fp32",
    size: tuple[Any, Any] = ("height", "width"),
    poison: float = 0.0,
    metadata: dict[str, str] | None = None,
) -> bytes:
    """The ONNX file. Numbers as `size` (height, width) make it fixed; `poison` NaN makes every answer NaN."""
    kind = TensorProto.FLOAT16 if precision == "fp16" else TensorProto.FLOAT
    number = np.float16 if precision == "fp16" else np.float32
    mean_of_swapped = np.zeros((3, 3, 3, 3), number)
    for channel in range(3):
        mean_of_swapped[channel, 2 - channel] = -1 / 9
    weights = {
        "kernel": mean_of_swapped,
        "bias": np.full(3, 255 + poison, number),
        "half": np.array(0.5, number),
        "low": np.array(0, number),
        "high": np.array(255, number),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=kind),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Pad", ["planes", "pads"], ["padded"], mode="edge"),
        helper.make_node("Conv", ["padded", "kernel", "bias"], ["whole"]),
        helper.make_node("Sub", ["whole", "planes"], ["change"]),
        helper.make_node("Cast", ["strength"], ["amount"], to=kind),
        helper.make_node("Mul", ["change", "amount"], ["part"]),
        helper.make_node("Add", ["planes", "part"], ["mixed"]),
        helper.make_node("Add", ["mixed", "half"], ["rounded"]),
        helper.make_node("Clip", ["rounded", "low", "high"], ["clipped"]),
        helper.make_node("Transpose", ["clipped"], ["pixels"], perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["pixels"], ["styled"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "frame",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, [1, *size, 3]),
            helper.make_tensor_value_info("strength", TensorProto.FLOAT, [1]),
        ],
        [helper.make_tensor_value_info("styled", TensorProto.UINT8, [1, *size, 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return _as_file(graph, metadata or {})


def negative_planes(planes: Planes, strength: float = 1.0) -> Planes:
    """The numpy twin of `planes_model`."""
    found = rules(planes.coding)
    white = found.yuv_from_rgb @ np.full(3, 255, np.float32)

    def mixed(part: np.ndarray, number: int) -> np.ndarray:
        negative = white[number] + 2 * found.yuv_of_black[number] - part.astype(np.float32)
        return np.clip(part + strength * (negative - part) + 0.5, 0, 255).astype(np.uint8)

    return Planes(mixed(planes.y, 0), mixed(planes.u, 1), mixed(planes.v, 2), planes.coding)


def planes_model(metadata: dict[str, str]) -> bytes:
    """A graph with planes at its edges: the negative of the colours, whatever the numbers mean."""
    nodes = [helper.make_node("MatMul", ["yuv_from_rgb", "white_rgb"], ["white"])]
    for name in "yuv":
        nodes += [
            helper.make_node("Gather", [source, f"place_{name}"], [f"{source}_{name}"], axis=0)
            for source in ("white", "yuv_of_black")
        ]
        nodes += [
            helper.make_node("Cast", [name], [f"float_{name}"], to=TensorProto.FLOAT),
            helper.make_node("Sub", [f"yuv_of_black_{name}", f"float_{name}"], [f"below_{name}"]),
            helper.make_node("Add", [f"below_{name}", f"yuv_of_black_{name}"], [f"turned_{name}"]),
            helper.make_node("Add", [f"turned_{name}", f"white_{name}"], [f"negative_{name}"]),
            helper.make_node("Sub", [f"negative_{name}", f"float_{name}"], [f"change_{name}"]),
            helper.make_node("Mul", [f"change_{name}", "strength"], [f"part_{name}"]),
            helper.make_node("Add", [f"float_{name}", f"part_{name}"], [f"mixed_{name}"]),
            helper.make_node("Add", [f"mixed_{name}", "half"], [f"rounded_{name}"]),
            helper.make_node("Clip", [f"rounded_{name}", "low", "high"], [f"clipped_{name}"]),
            helper.make_node("Cast", [f"clipped_{name}"], [f"styled_{name}"], to=TensorProto.UINT8),
        ]
    weights = {
        **rules(LIMITED_BT709)._asdict(),
        "white_rgb": np.full(3, 255, np.float32),
        **{f"place_{name}": np.array([number], np.int64) for number, name in enumerate("yuv")},
        "half": np.array(0.5, np.float32),
        "low": np.array(0, np.float32),
        "high": np.array(255, np.float32),
    }
    shapes = {
        "y": ["height", "width"],
        "u": ["half_height", "half_width"],
        "v": ["half_height", "half_width"],
    }
    pictures = {
        prefix: [
            helper.make_tensor_value_info(f"{prefix}{name}", TensorProto.UINT8, [1, *shape, 1])
            for name, shape in shapes.items()
        ]
        for prefix in ("", "styled_")
    }
    graph = helper.make_graph(
        nodes,
        "planes",
        [*pictures[""], helper.make_tensor_value_info("strength", TensorProto.FLOAT, [1])],
        pictures["styled_"],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return _as_file(graph, metadata)


def echo_model(metadata: dict[str, str]) -> bytes:
    """A graph with a state: paints the mean of this picture and the one before (black before the first)."""
    nodes = [
        helper.make_node("Cast", ["image"], ["memory_next"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["memory_next", "memory"], ["sum"]),
        helper.make_node("Mul", ["sum", "half"], ["mean"]),
        helper.make_node("Cast", ["mean"], ["styled"], to=TensorProto.UINT8),
    ]
    memory = [1, "height", "width", 3]
    graph = helper.make_graph(
        nodes,
        "echo",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, memory),
            helper.make_tensor_value_info("memory", TensorProto.FLOAT, memory),
        ],
        [
            helper.make_tensor_value_info("styled", TensorProto.UINT8, memory),
            helper.make_tensor_value_info("memory_next", TensorProto.FLOAT, memory),
        ],
        [numpy_helper.from_array(np.array(0.5, np.float32), "half")],
    )
    return _as_file(graph, metadata)


def double_model(metadata: dict[str, str]) -> bytes:
    """A graph of scale 2: every pixel four times."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "Resize",
            ["planes", "", "scales"],
            ["doubled"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        helper.make_node("Transpose", ["doubled"], ["pixels"], perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["pixels"], ["styled"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "double",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, "height", "width", 3])],
        [helper.make_tensor_value_info("styled", TensorProto.UINT8, [1, "height2", "width2", 3])],
        [numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")],
    )
    return _as_file(graph, metadata)


def _as_file(graph: onnx.GraphProto, metadata: dict[str, str]) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def manifest(**changes: Any) -> Manifest:
    """A complete manifest of a bundle with the variant fp32, unsealed."""
    made = Manifest(
        name="negative",
        title="Negative",
        version="1",
        created="2026-11-20T00:00:00Z",
        tool={"allaprima": "0.1.0"},
        inputs=(TensorSpec(name="image", shape=(1, "height", "width", 3)),),
        outputs=(TensorSpec(name="styled", shape=(1, "height", "width", 3)),),
        geometry=Geometry(margin=1, stride=1),
        controls=(Control(name="strength", default=1.0, help="0 gives the picture back, 1 the full style"),),
        variants=(variant("fp32"),),
        golden=Golden(
            image="golden/image.png",
            styled="golden/styled.png",
            controls={"strength": 1.0},
            tolerances={"fp32": EXACT, "bf16": NEAR, "fp16": NEAR},
        ),
        lineage=Lineage(
            method="none",
            recipe="recipe.toml",
            network="one convolution",
            parameters=84,
            gmac_720p=0.07,
            style=(),
            content="none",
            features="none",
            steps=1,
            trained="2026-11-20",
        ),
        licence=Licence(bundle="CC0-1.0", weights="CC0-1.0", style="none", content="none"),
    )
    return replace(made, **changes)


def with_planes() -> Manifest:
    """That of a bundle with a variant for planes, too."""
    made = manifest()
    assert made.golden is not None
    golden = replace(made.golden, planes="golden/planes.png", styled_planes="golden/styled_planes.png")
    planes = replace(variant("fp32"), name="fp32-planes", file="model_planes.onnx", edges="planes")
    return replace(made, variants=(*made.variants, planes), golden=golden)


def variant(name: str, *, fixed: tuple[int, int] | None = None, **more: Any) -> Variant:
    precision = name.split("-")[0]
    return Variant(
        name=name,
        file="model.onnx" if name == "fp32" else f"model_{name}.onnx",
        precision=precision,  # type: ignore[arg-type]
        opset=OPSET,
        ir_version=IR,
        parity=Parity(psnr_db=60, ssim=0.999, max_difference=1, frames=4, against="numpy", tolerance=EXACT),
        fixed=fixed,
        **more,
    )


def make_bundle(
    folder: Path,
    *,
    promise: Manifest | None = None,
    poison: float = 0.0,
    model: Callable[[dict[str, str]], bytes] | None = None,
) -> Path:
    """A sealed bundle in `folder`, with every variant that `promise` has; `model` instead of `frame_model`."""
    promise = promise or manifest()
    (folder / "golden").mkdir(parents=True)
    for one in promise.variants:
        metadata = promise.metadata(one.name)
        size = one.fixed or ("height", "width")
        data = (
            planes_model(metadata)
            if one.edges == "planes"
            else model(metadata)
            if model
            else frame_model(precision=one.precision, size=size, poison=poison, metadata=metadata)
        )
        (folder / one.file).write_bytes(data)
    image = ramp(48, 64)
    Pictures.fromarray(image).save(folder / "golden" / "image.png")
    Pictures.fromarray(painted(image)).save(folder / "golden" / "styled.png")
    if promise.golden and promise.golden.planes and promise.golden.styled_planes:
        planes = Planes.from_rgb(image)
        Pictures.fromarray(planes.stacked()).save(folder / promise.golden.planes)
        styled = negative_planes(planes).stacked()
        Pictures.fromarray(styled).save(folder / promise.golden.styled_planes)
    (folder / "recipe.toml").write_text('title = "Negative"\n')
    (folder / "card.md").write_text("# Negative\n")
    seal(folder, promise)
    return folder


def startable_backends() -> list[Any]:
    """Every written row of BACKENDS for `parametrize`; those that cannot start are skipped, with the reason."""
    rows = []
    for name, entry in BACKENDS.items():
        if entry.module is None:
            continue
        try:
            load(name)
            if entry.extra == "gpu":
                _start_once(name)  # onnxruntime-gpu loads on machines without a card, too
        except DeviceError as error:
            rows.append(pytest.param(name, marks=pytest.mark.skip(reason=f"{name}: {error.why}")))
        else:
            rows.append(pytest.param(name))
    return rows


def _start_once(name: str) -> None:
    """DeviceError where it does not really start."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = Bundle.open(make_bundle(Path(folder) / "negative.prima"))
        sample = {"image": ramp(16, 16)[np.newaxis], "strength": np.ones(1, np.float32)}
        start(bundle, sample, name=name).backend.close()
