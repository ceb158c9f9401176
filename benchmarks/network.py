"""How fast is the network alone at 1280x720, two threads, against what people run today?

    python benchmarks/network.py                      # the shipped style
    python benchmarks/network.py --bundle my.prima    # another one
    python benchmarks/network.py --random             # mobile-small with random weights: as fast, no training needed

The goals: at least 120 times faster in OpenVINO than `peers/candy.onnx` in ONNX Runtime, and at least 20 times
faster than the same file in OpenVINO with the same precision hint. All of them run in one process, in turn,
and what they answer is checked. The line also has what this processor can do at most: where the goal lies
beyond that, no network of this many multiply-adds reaches it here.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lines
import numpy as np
from numpy.typing import NDArray

from allaprima import backends
from allaprima.bundle import Bundle, find_style
from allaprima.metrics import psnr

HEIGHT, WIDTH, THREADS = 720, 1280, 2
PEER = lines.SHARED / "peers" / "candy.onnx"
GOAL_ORT, GOAL_OPENVINO = 120, 20
PAUSE_S = 0.02  # ONNX Runtime's threads spin for a while after their work, which the next one would pay for

Run = Callable[[], NDArray[Any]]


def main() -> None:
    args = _arguments()
    if not PEER.is_file():
        sys.exit(f"cannot compare: {PEER} is not here")
    model, what, gmac = _random_model() if args.random else _bundled(args.bundle)
    native = backends.load("openvino")[0].precisions(None)
    precision = "bf16" if "bf16" in native else "fp32"
    contenders = _contenders(model, precision)
    ceiling_flops = _ceiling(precision)
    answers = {name: run() for name, run in contenders.items()}
    checked = _check(answers, precision)
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(args.rounds):
        for name, run in contenders.items():
            time.sleep(PAUSE_S)
            run()
            for _ in range(1 if name.startswith("peer") else 8):
                began = time.perf_counter()
                run()
                found[name].append(time.perf_counter() - began)
    _report(args.keep, what, gmac, precision, found, ceiling_flops, checked)


def _arguments() -> argparse.Namespace:
    parser = lines.arguments(__doc__)
    parser.add_argument("--bundle", default="starry", help="a style's name or path (default: starry)")
    parser.add_argument("--random", action="store_true", help="mobile-small with random weights instead")
    parser.add_argument("--rounds", type=int, default=9, help="each times the peers once, ours eight times")
    return parser.parse_args()


def _bundled(style: str) -> tuple[bytes, str, float]:
    """The model, its name, and its GMAC for 1280x720."""
    bundle = Bundle.open(find_style(style))
    made = bundle.manifest.lineage
    name = f"{bundle.manifest.name} ({made.network})"
    return bundle.read(bundle.variant("fp32").file), name, made.gmac_720p


def _random_model() -> tuple[bytes, str, float]:
    import torch

    from allaprima_export.core import billion_macs, in_bytes, trace
    from allaprima_export.edges import attach_edges
    from allaprima_train.generators import make_generator

    torch.manual_seed(0)
    network = make_generator("mobile", "small").eval()
    sizes = {name: getattr(network, name) for name in ("period", "stride", "margin", "veil")}
    model = attach_edges(trace(in_bytes(network)), **sizes).SerializeToString()
    return model, "random (mobile-small)", billion_macs(network, HEIGHT, WIDTH)


def _contenders(model: bytes, precision: str) -> dict[str, Run]:
    """What is timed. Ours answer uint8 (1, H, W, 3), the peer float32 (1, 3, H, W) in 0..255."""
    picture = _picture()
    ours = {"image": picture[None], "strength": np.ones(1, np.float32)}
    peer = PEER.read_bytes()
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32)
    session = _default_session(peer)
    name = session.get_inputs()[0].name
    return {
        f"ours openvino {precision}": _on("openvino", precision, model, ours),
        "ours openvino fp32": _on("openvino", "fp32", model, ours),
        "ours ort fp32": _on("ort", "fp32", model, ours),
        f"peer openvino {precision}": _on("openvino", precision, peer, {name: planes}),
        "peer ort fp32": lambda: session.run(None, {name: planes})[0],
    }


def _on(backend: str, precision: str, model: bytes, inputs: dict[str, NDArray[Any]]) -> Run:
    kind, device = backends.load(backend)
    runner = kind(model, inputs, precision=precision, device=device, threads=THREADS)
    return lambda: next(iter(runner.run(inputs).values()))


def _default_session(model: bytes) -> Any:
    """ONNX Runtime as people use it: its own defaults, but two threads."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _picture() -> NDArray[np.uint8]:
    """Soft waves with noise: nothing that a cache or a branch could profit from."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    waves = np.stack([np.sin(rows / (20 + c)) + np.cos(columns / (31 - c)) for c in range(3)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 6, (HEIGHT, WIDTH, 3))
    return np.clip(128 + 50 * waves + noise, 0, 255).astype(np.uint8)


def _check(answers: dict[str, NDArray[Any]], precision: str) -> dict[str, float]:
    """Shapes, finite, and each contender against its own fp32 in ONNX Runtime: PSNR in dB."""
    found = {}
    for name, answer in answers.items():
        ours = name.startswith("ours")
        wanted = (1, HEIGHT, WIDTH, 3) if ours else (1, 3, HEIGHT, WIDTH)
        assert answer.shape == wanted, (name, answer.shape)
        assert np.isfinite(answer).all(), name
        assert np.ptp(answer) > 50, name
        reference = answers["ours ort fp32" if ours else "peer ort fp32"]
        found[name] = round(psnr(_bytes(answer), _bytes(reference)), 1)
        least = 25 if precision in name else 60  # bf16 keeps 8 bits; the peer's norms lose some of them
        assert found[name] >= least, (name, found[name])
    return found


def _bytes(answer: NDArray[Any]) -> NDArray[np.uint8]:
    return np.clip(answer, 0, 255).astype(np.uint8)


def _ceiling(precision: str) -> float:
    """FLOP/s of the friendliest of three cases: 3x3 convolutions one after the other, and nothing else."""
    return max(_convolutions(precision, *case) for case in ((64, 90, 160), (128, 90, 160), (256, 45, 80)))


def _convolutions(precision: str, channels: int, height: int, width: int, layers: int = 8) -> float:
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).normal(0, 0.03, (channels, channels, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", [f"x{n}", "w"], [f"x{n + 1}"], pads=[1] * 4) for n in range(layers)]
    # only a corner comes out, so that writing the answer costs nothing
    nodes.append(helper.make_node("Slice", [f"x{layers}", "from", "to", "axes"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "ceiling",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, [1, channels, height, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, channels, 1, 1])],
        [
            numpy_helper.from_array(weights, "w"),
            *(numpy_helper.from_array(np.array([at, at]), name) for name, at in (("from", 0), ("to", 1))),
            numpy_helper.from_array(np.array([2, 3]), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    sample = {"x0": np.random.default_rng(1).random((1, channels, height, width), dtype=np.float32)}
    run = _on("openvino", precision, model.SerializeToString(), sample)
    fastest = float("inf")
    for _ in range(15):
        began = time.perf_counter()
        run()
        fastest = min(fastest, time.perf_counter() - began)
    return 2.0 * layers * 9 * channels**2 * height * width / fastest


def _report(
    keep: bool,
    what: str,
    gmac: float,
    precision: str,
    found: dict[str, list[float]],
    ceiling_flops: float,
    checked: dict[str, float],
) -> None:
    latency_ms = {name: lines.milliseconds(seconds) for name, seconds in found.items()}
    ours = latency_ms[f"ours openvino {precision}"]["p50"]
    to_ort = latency_ms["peer ort fp32"]["p50"] / ours
    to_openvino = latency_ms[f"peer openvino {precision}"]["p50"] / ours
    # The least that the arithmetic takes on the padded picture, if all else cost nothing
    least_ms = 2 * gmac * 1e9 / ceiling_flops * 1000
    lines.report(
        "network",
        {
            "what": f"{what} against candy.onnx, network alone",
            "machine": {**lines.machine(), "instructions": _instructions()},
            "versions": lines.versions("openvino", "onnxruntime", "numpy"),
            "shape": [HEIGHT, WIDTH, 3],
            "threads": THREADS,
            "precision": precision,
            "latency_ms": latency_ms,
            "psnr_to_own_ort_fp32_db": checked,
            "times_faster": {
                "than peer in ort": round(to_ort, 1),
                "than peer in openvino": round(to_openvino, 1),
            },
            "ceiling": {
                "gmac": round(gmac, 2),
                "tflops": round(ceiling_flops / 1e12, 2),
                "least_ms": round(least_ms, 2),
                "most_times_faster_than_peer_in_ort": round(latency_ms["peer ort fp32"]["p50"] / least_ms, 1),
            },
            "goals": {
                f"{GOAL_ORT} times faster than the peer in ort": to_ort >= GOAL_ORT,
                f"{GOAL_OPENVINO} times faster than the peer in openvino": to_openvino >= GOAL_OPENVINO,
            },
        },
        keep=keep,
    )


def _instructions() -> list[str]:
    """Those of the processor that decide how fast a convolution can be."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text().split("flags", 1)[1].split("\n", 1)[0].split() if info.is_file() else []
    wanted = (
        "avx2",
        "avx512f",
        "avx512_bf16",
        "avx512_vnni",
        "avx_vnni",
        "amx_bf16",
        "amx_int8",
        "asimd",
        "i8mm",
    )
    return [flag for flag in wanted if flag in flags]


if __name__ == "__main__":
    main()
