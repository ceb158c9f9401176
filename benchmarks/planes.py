"""What do planes save? The same network with bytes of RGB and with YUV 4:2:0 planes at its edges, at 1280x720.

    python benchmarks/planes.py                      # the shipped style
    python benchmarks/planes.py --bundle my.prima    # another one that has variants for planes
    python benchmarks/planes.py --random             # mobile-small with random weights

The goals: not slower in the network alone, and at least twice as fast from planes to planes, where bytes need a
conversion before and one after. All contenders run in one process, in turn, two threads each; the conversions are
swscale's, as the runtime makes them. What they paint is compared.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import lines
import numpy as np

from allaprima import backends
from allaprima.bundle import Bundle, find_style
from allaprima.metrics import psnr
from allaprima.planes import Planes

HEIGHT, WIDTH, THREADS = 720, 1280, 2
LEAST_DB = 25  # between both paintings, as shown: a random network paints far beyond RGB, which clips it
PAUSE_S = 0.02  # threads spin for a while after their work, which the next one would pay for


def main() -> None:
    parser = lines.arguments(__doc__)
    parser.add_argument("--bundle", default="starry", help="a style's name or path (default: starry)")
    parser.add_argument("--random", action="store_true", help="mobile-small with random weights instead")
    parser.add_argument("--backend", default="openvino")
    parser.add_argument("--rounds", type=int, default=15, help="each runs every contender four times")
    args = parser.parse_args()
    kind, device = backends.load(args.backend)
    what, models, precision = _random() if args.random else _bundled(args.bundle, kind.precisions(device))
    scene = np.random.default_rng(0).normal(0, 6, (HEIGHT, WIDTH, 3)) + _waves()
    planes = Planes.converted(np.clip(scene, 0, 255).astype(np.uint8))
    strength = np.ones(1, np.float32)
    parts = {"y": planes.y, "u": planes.u, "v": planes.v}
    feeds: dict[str, dict[str, Any]] = {
        "planes": {
            **{name: np.ascontiguousarray(part)[None, ..., None] for name, part in parts.items()},
            "strength": strength,
        },
        "bytes": {"image": planes.rgb()[None], "strength": strength},
    }
    runners = {
        edges: kind(models[edges], feeds[edges], precision=precision, device=device, threads=THREADS)
        for edges in feeds
    }
    painted = runners["bytes"].run(feeds["bytes"])["styled"][0]
    answer = runners["planes"].run(feeds["planes"])
    shown = Planes(*(answer[f"styled_{name}"][0, ..., 0] for name in parts), coding=planes.coding)
    agreement = psnr(shown.rgb(), Planes.converted(painted).rgb())
    assert agreement >= LEAST_DB, f"planes and bytes paint differently: {agreement:.1f} dB"
    contenders: dict[str, Callable[[], object]] = {
        "planes, network": lambda: runners["planes"].run(feeds["planes"]),
        "bytes, network": lambda: runners["bytes"].run(feeds["bytes"]),
        "yuv420p to rgb24": planes.rgb,
        "rgb24 to yuv420p": lambda: Planes.converted(painted),
    }
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(args.rounds):
        for name, run in contenders.items():
            time.sleep(PAUSE_S)
            run()
            for _ in range(4):
                begun = time.perf_counter()
                run()
                found[name].append(time.perf_counter() - begun)
    latency_ms = {name: lines.milliseconds(times) for name, times in found.items()}
    p50 = {name: figures["p50"] for name, figures in latency_ms.items()}
    alone = p50["bytes, network"] / p50["planes, network"]
    whole = sum(p50.values()) - p50["planes, network"]
    times_faster = whole / p50["planes, network"]
    lines.report(
        "planes",
        {
            "what": what,
            "machine": lines.machine(),
            "versions": lines.versions("openvino", "onnxruntime", "av", "numpy"),
            "shape": [1, HEIGHT, WIDTH, 3],
            "backend": runners["planes"].description,
            "precision": precision,
            "latency_ms": latency_ms,
            "agreement_db": round(agreement, 1),
            "times_faster": {
                "network alone": round(alone, 2),
                "with both conversions": round(times_faster, 2),
            },
            "goals": {"not slower alone": alone >= 1, "2 times faster with conversions": times_faster >= 2},
        },
        keep=args.keep,
    )


def _bundled(style: str, possible: dict[str, str]) -> tuple[str, dict[str, bytes], str]:
    bundle = Bundle.open(find_style(style))
    for precision, stored in possible.items():
        found = {
            one.edges: bundle.read(one.file)
            for one in bundle.manifest.variants
            if one.precision == stored and one.fixed is None and one.edges != "float"
        }
        if {"rgb", "planes"} <= set(found):
            return bundle.manifest.name, {"bytes": found["rgb"], "planes": found["planes"]}, precision
    sys.exit(f"cannot compare: {bundle.path} has no variant for planes; export it again, or give --random")


def _random() -> tuple[str, dict[str, bytes], str]:
    import torch

    from allaprima_export.core import in_bytes, trace
    from allaprima_export.edges import attach_edges
    from allaprima_export.planes import attach_planes
    from allaprima_train.generators import make_generator

    torch.manual_seed(0)
    network = make_generator("mobile", "small").eval()
    core = trace(in_bytes(network))
    sizes: dict[str, Any] = {name: getattr(network, name) for name in ("period", "stride", "margin", "veil")}
    models = {
        "bytes": attach_edges(core, **sizes).SerializeToString(),
        "planes": attach_planes(core, **sizes).SerializeToString(),
    }
    native = backends.load("openvino")[0].precisions(None)
    return "random (mobile-small)", models, "bf16" if "bf16" in native else "fp32"


def _waves() -> Any:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    waves = [np.sin(rows / (20 + c)) + np.cos(columns / (31 - c)) for c in range(3)]
    return 128 + 50 * np.stack(waves, axis=-1)


if __name__ == "__main__":
    main()
