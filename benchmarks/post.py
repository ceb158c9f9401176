"""What post-processing costs at 1280x720: after the graph and in it, beside the painting itself.

Milliseconds a frame on OpenVINO in fp32, rounds interleaved. Both ways have to give the same picture.
"""

from __future__ import annotations

import time

import lines
import numpy as np
import onnx

from allaprima import backends
from allaprima.bundle import Bundle, find_style
from allaprima.demo import PHOTOGRAPH
from allaprima.pixels import resize
from allaprima.post import GRAIN_PHASE, STAGES, Post, grain_phase
from allaprima.sources.pictures import PictureSource
from allaprima.threads import available
from allaprima_export.post import attach_post

INDEX, AMOUNT = 3, 0.5


def main() -> None:
    parser = lines.arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    with PictureSource(PHOTOGRAPH) as source:
        photo = resize(next(iter(source)).image, 1280, 720)
    bundle = Bundle.open(find_style("starry"))
    model = onnx.load_model_from_string(bundle.read(bundle.manifest.variants[0].file))
    plain = started(model, photo, {})
    times: dict[str, list[float]] = {"painting": []}
    ways = []
    for stage in STAGES:
        controls = {stage: AMOUNT, **({GRAIN_PHASE: float(grain_phase(INDEX))} if stage == "grain" else {})}
        ways.append((stage, Post(**{stage: AMOUNT}), started(attach_post(model, [stage]), photo, controls)))
    painted = plain()
    for stage, post, inside in ways:
        apart = np.abs(inside().astype(int) - post.finish(photo, painted, INDEX))
        assert apart.max() <= 1, f"{stage}: the two ways differ by {apart.max()}"
    for _ in range(args.rounds):
        began = time.perf_counter()
        painted = plain()
        times["painting"].append(time.perf_counter() - began)
        for stage, post, inside in ways:
            began = time.perf_counter()
            post.finish(photo, painted, INDEX)
            middle = time.perf_counter()
            inside()
            times.setdefault(f"{stage}_after", []).append(middle - began)
            times.setdefault(f"{stage}_with_painting_inside", []).append(time.perf_counter() - middle)
    lines.report(
        "post",
        {
            "machine": lines.machine(),
            "versions": lines.versions("openvino", "numpy", "pillow"),
            "shape": [720, 1280, 3],
            "precision": "fp32",
            "rounds": args.rounds,
            "ms_p50": {name: lines.milliseconds(found)["p50"] for name, found in times.items()},
        },
        keep=args.keep,
    )


def started(model: onnx.ModelProto, photo: np.ndarray, controls: dict[str, float]):
    """A function that paints the photograph with the model, and answers the painting."""
    inputs = {"image": photo[np.newaxis], "strength": np.ones(1, np.float32)}
    inputs |= {name: np.array([value], np.float32) for name, value in controls.items()}
    kind, device = backends.load("openvino")
    runner = kind(model.SerializeToString(), inputs, precision="fp32", device=device, threads=available())
    return lambda: runner.run(inputs)["styled"][0]


if __name__ == "__main__":
    main()
