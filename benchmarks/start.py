"""How long until something happens: `allaprima --help`, `import allaprima`, and the first painted frame.

The goals: --help under 0.3 s, the first painted 1280x720 frame under 2 s after the start of the process (warm disk).
"""

from __future__ import annotations

import subprocess
import sys
import time

import lines

FIRST_FRAME = """
import sys
from allaprima import Frame, Stylizer, open_source
with open_source("bars:1280x720@30") as source, Stylizer.open("starry", size=(1280, 720)) as stylizer:
    frame = next(iter(source))
    painted = stylizer(frame)
assert painted.image.shape == (720, 1280, 3) and painted.image.std() > 10
assert (painted.image != frame.image).mean() > 0.5, "not painted"
assert "torch" not in sys.modules
print(stylizer.bundle.manifest.name)
"""
IMPORT = """
import sys, allaprima
heavy = {"torch", "openvino", "onnxruntime", "cv2", "numpy", "av"} & set(sys.modules)
assert not heavy, heavy
"""


def seconds(command: list[str], times: int) -> list[float]:
    """Wall time of whole processes, after one that warms the disk."""
    found = []
    for _ in range(times + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        found.append(time.perf_counter() - began)
    return found[1:]


def main() -> None:
    args = lines.arguments(__doc__).parse_args()
    python = sys.executable
    help_s = seconds([python, "-m", "allaprima", "--help"], 15)
    import_s = seconds([python, "-c", IMPORT], 15)
    nothing_s = seconds([python, "-c", "pass"], 15)
    first_s = seconds([python, "-c", FIRST_FRAME], 9)
    p50 = {
        name: lines.milliseconds(found)["p50"] for name, found in (("help", help_s), ("first_frame", first_s))
    }
    lines.report(
        "start",
        {
            "machine": lines.machine(),
            "versions": lines.versions("openvino", "onnxruntime", "numpy"),
            "shape": [720, 1280, 3],
            "help_ms": lines.milliseconds(help_s),
            "import_ms": lines.milliseconds(import_s),
            "python_alone_ms": lines.milliseconds(nothing_s),
            "first_frame_ms": lines.milliseconds(first_s),
            "goals": {
                "help under 300 ms": p50["help"] < 300,
                "first painted frame under 2000 ms": p50["first_frame"] < 2000,
            },
        },
        keep=args.keep,
    )


if __name__ == "__main__":
    main()
