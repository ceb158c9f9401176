"""How fast is a 1920x1080 picture on a card, batch 1, from host memory to host memory, against torch?

    python benchmarks/gpu.py                 # mobile-small with random weights: as fast as any
    python benchmarks/gpu.py --rehearse      # every step on the processor, small, to see that the program works

The goal: ONNX Runtime's CUDA, with bound memory and a CUDA graph, at least 1.5 times faster than the better of torch
eager and torch.compile (max-autotune), all of them in one process, in turn, in fp16, and checked against torch in fp32.
TensorRT of the flavour that is installed runs beside them. The line says which share of the bound each one reaches:
the largest of copies, memory traffic and arithmetic, each by what this card was measured to do. torch gets the folded
network, channels_last, pinned memory and cuDNN's own search: everything that makes it fast.

Prints `no GPU` and exits with status 0 on a machine without a card that torch can use.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable
from typing import Any, cast

import lines
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from allaprima import backends
from allaprima.cuda import find_gpu
from allaprima.engines import Cache, NotBuilt, build_apart
from allaprima.errors import AllaPrimaError
from allaprima.metrics import psnr
from allaprima_export.core import billion_macs, in_bytes, trace
from allaprima_export.edges import attach_edges
from allaprima_export.half import half
from allaprima_train.frame_model import FrameModel, from_unit, paint, to_unit
from allaprima_train.generators import Generator, make_generator

GOAL = 1.5
LEAST_DB = 30  # fp16 against fp32, random weights
Run = Callable[[], NDArray[Any]]


def main() -> None:
    args = _arguments()
    device = "cpu" if args.rehearse else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        print("no GPU: torch finds no card that it can use here")
        return
    width, height = (96, 64) if args.rehearse else args.size
    torch.manual_seed(0)
    network = make_generator("mobile", "small").eval()
    picture = _picture(height, width)
    with torch.no_grad():
        strength = torch.ones(1)
        reference = FrameModel(network)(torch.from_numpy(picture)[None], strength)[0].numpy()
    contenders, absent = _contenders(network, _model(network), picture, device)
    checked = _check(contenders, reference)
    found = _timed(contenders, rounds=3 if args.rehearse else args.rounds)
    bound = _bound(network, height, width, device)
    _report(args, [height, width, 3], found, checked, absent, bound)


def _arguments() -> argparse.Namespace:
    parser = lines.arguments(__doc__)
    parser.add_argument("--size", type=_size, default=(1920, 1080), metavar="WxH")
    parser.add_argument("--rounds", type=int, default=30, help="each runs every contender ten times")
    parser.add_argument("--rehearse", action="store_true", help="on the processor; its figures mean nothing")
    return parser.parse_args()


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def _picture(height: int, width: int) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(rows / (20 + c)) + np.cos(columns / (31 - c)) for c in range(3)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 6, (height, width, 3))
    return np.clip(128 + 50 * waves + noise, 0, 255).astype(np.uint8)


def _model(network: nn.Module, fixed: tuple[int, int] | None = None) -> bytes:
    """The fp16 variant, as an export packs it."""
    sizes = {name: getattr(network, name) for name in ("period", "stride", "margin", "veil")}
    return attach_edges(half(trace(in_bytes(network))), **sizes, fixed=fixed).SerializeToString()


def _contenders(
    network: nn.Module, model: bytes, picture: NDArray[np.uint8], device: str
) -> tuple[dict[str, Run], dict[str, str]]:
    """What is timed, and what is not here. All answer uint8 (1, H, W, 3) in host memory."""
    rehearsal = device == "cpu"
    with_torch = _Half(network).eval().to(device)
    compiled = torch.compile(with_torch, **({"backend": "eager"} if rehearsal else {"mode": "max-autotune"}))
    found: dict[str, Run] = {
        "torch eager": _torch_run(with_torch, picture, device),
        "torch.compile": _torch_run(cast(nn.Module, compiled), picture, device),
    }
    absent: dict[str, str] = {}
    inputs = {"image": picture[None], "strength": np.ones(1, np.float32)}
    names = ["ort"] if rehearsal else ["ort:cuda", "ort:tensorrt", "tensorrt:standard", "tensorrt:rtx"]
    for name in names:
        try:
            found[name] = _ours(name, model, inputs)
            if name.startswith("tensorrt"):  # a picture copied while the other is computed: time per picture
                found[f"{name}, two under way"] = _ours(name, model, inputs, under_way=2)
        except AllaPrimaError as error:
            absent[name] = error.why
        except Exception as error:  # vendors raise anything; the line says what
            absent[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    return found, absent


class _Half(nn.Module):
    """`FrameModel` with the folded network in fp16 and channels_last: torch at its best."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        folded = copy.deepcopy(cast(Generator, network).folded())
        self.generator = folded.half().to(memory_format=torch.channels_last)

    def forward(self, image: Tensor, strength: Tensor) -> Tensor:
        x = to_unit(image).permute(0, 3, 1, 2).half().contiguous(memory_format=torch.channels_last)
        mixed = x + strength.half() * (paint(cast(Generator, self.generator), x) - x)
        return from_unit(mixed).permute(0, 2, 3, 1).contiguous()


def _torch_run(model: nn.Module, picture: NDArray[np.uint8], device: str) -> Run:
    torch.backends.cudnn.benchmark = True
    on_card = device == "cuda"
    source, target = (
        torch.empty((1, *picture.shape), dtype=torch.uint8, pin_memory=on_card) for _ in range(2)
    )
    strength = torch.ones(1, device=device)

    def run() -> NDArray[Any]:
        source.numpy()[...] = picture  # what arrives lies in ordinary memory, for all contenders
        with torch.no_grad():
            target.copy_(model(source.to(device, non_blocking=True), strength), non_blocking=True)
        if on_card:
            torch.cuda.synchronize()
        return target.numpy().copy()

    return run


def _ours(name: str, model: bytes, inputs: dict[str, NDArray[Any]], under_way: int = 1) -> Run:
    kind, device = backends.load(name)

    def started() -> Any:
        several = {"in_flight": under_way} if under_way > 1 else {}
        return kind(model, inputs, precision="fp16", device=device, threads=2, **several)

    try:
        runner = started()
    except NotBuilt as missing:
        build_apart(missing.request, Cache(), lambda now: print(now.line, file=sys.stderr))
        runner = started()
    if under_way == 1:
        return lambda: runner.run(inputs)["styled"]
    going = [runner.submit(inputs)]

    def run() -> NDArray[Any]:
        going.append(runner.submit(inputs))
        return going.pop(0)()["styled"]

    return run


def _check(contenders: dict[str, Run], reference: NDArray[np.uint8]) -> dict[str, float]:
    """PSNR of each against torch in fp32 on the processor; a contender that paints something else ends it all."""
    found = {}
    for name, run in contenders.items():
        answer = run()
        assert answer.shape == (1, *reference.shape), (name, answer.shape)
        found[name] = round(psnr(answer[0], reference), 1)
        assert found[name] >= LEAST_DB, (name, found[name])
    return found


def _timed(contenders: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        for _ in range(10):  # torch.compile records its graphs, the card takes up its clock
            run()
    for _ in range(rounds):
        for name, run in contenders.items():
            run()
            for _ in range(10):
                began = time.perf_counter()
                run()
                found[name].append(time.perf_counter() - began)
    return found


def _bound(network: nn.Module, height: int, width: int, device: str) -> dict[str, float]:
    """The least that one picture takes, in ms: the largest of copies, memory traffic and arithmetic.

    Traffic: every convolution reads its input and weights and writes its output once, in fp16, and fuses all else.
    """
    picture_bytes = height * width * 3
    ceilings = _ceilings(picture_bytes, device)
    gmac = billion_macs(network, height, width)
    least = {
        "copies_ms": picture_bytes / ceilings["up_gb_s"] / 1e6 + picture_bytes / ceilings["down_gb_s"] / 1e6,
        "traffic_ms": _traffic_bytes(_model(network, (height, width))) / ceilings["memory_gb_s"] / 1e6,
        "arithmetic_ms": 2 * gmac / ceilings["tflops"],
    }
    figures = {**ceilings, "gmac": gmac, **least, "least_ms": max(least.values())}
    return {name: round(value, 4) for name, value in figures.items()}


def _traffic_bytes(model: bytes) -> int:
    """Of a model with its size built in."""
    import onnx

    made = onnx.load_from_string(model)
    made = onnx.shape_inference.infer_shapes(made, strict_mode=True)
    shapes = {
        one.name: [size.dim_value for size in one.type.tensor_type.shape.dim] for one in made.graph.value_info
    }
    shapes |= {one.name: list(one.dims) for one in made.graph.initializer}
    touched = 0
    for node in made.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            assert all(shapes.get(name) and min(shapes[name]) > 0 for name in (*node.input, *node.output)), (
                node.name
            )
            touched += sum(2 * int(np.prod(shapes[name])) for name in (*node.input, *node.output))
    return touched


def _ceilings(picture_bytes: int, device: str) -> dict[str, float]:
    """What this card was measured to do: pinned copies of one picture, a copy within the card, a large fp16 product."""
    on_card = device == "cuda"
    host = torch.empty(picture_bytes, dtype=torch.uint8, pin_memory=on_card)
    card = torch.empty_like(host, device=device)
    large = torch.empty((1 << 30) if on_card else (1 << 24), dtype=torch.uint8, device=device)
    other = torch.empty_like(large)
    side = 8192 if on_card else 256
    a, b = (torch.randn(side, side, device=device, dtype=torch.float16) for _ in range(2))
    return {
        "up_gb_s": picture_bytes / _fastest(lambda: card.copy_(host, non_blocking=True), device) / 1e9,
        "down_gb_s": picture_bytes / _fastest(lambda: host.copy_(card, non_blocking=True), device) / 1e9,
        "memory_gb_s": 2 * large.numel() / _fastest(lambda: other.copy_(large), device) / 1e9,
        "tflops": 2 * side**3 / _fastest(lambda: a @ b, device) / 1e12,
    }


def _fastest(work: Callable[[], Any], device: str) -> float:
    """Seconds of the fastest of some runs."""
    best = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return best


def _report(
    args: argparse.Namespace,
    shape: list[int],
    found: dict[str, list[float]],
    checked: dict[str, float],
    absent: dict[str, str],
    bound: dict[str, float],
) -> None:
    latency_ms = {name: lines.milliseconds(seconds) for name, seconds in found.items()}
    torchs = min(latency_ms[name]["p50"] for name in ("torch eager", "torch.compile"))
    ours = {name: one for name, one in latency_ms.items() if not name.startswith("torch")}
    faster = {name: round(torchs / one["p50"], 2) for name, one in ours.items()}
    what = (
        "rehearsal on the processor: these figures mean nothing"
        if args.rehearse
        else "mobile-small, host to host"
    )
    lines.report(
        "gpu",
        {
            "what": what,
            "machine": {**lines.machine(), "gpu": "none" if args.rehearse else find_gpu().line},
            "versions": lines.versions(
                "torch", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx", "cuda-bindings"
            ),
            "shape": shape,
            "precision": "fp16",
            "latency_ms": latency_ms,
            "psnr_to_torch_fp32_db": checked,
            "not_here": absent,
            "times_faster_than_the_better_torch": faster,
            "bound": bound,
            "share_of_bound": {
                name: round(bound["least_ms"] / one["p50"], 3) for name, one in latency_ms.items()
            },
            "goals": {f"ort:cuda {GOAL} times faster than torch": faster.get("ort:cuda", 0) >= GOAL},
        },
        keep=args.keep and not args.rehearse,
    )


if __name__ == "__main__":
    main()
