"""What `--profile web` promises, in a browser: the files paint on WebGPU and WebAssembly what torch paints."""

import json
import shutil
from pathlib import Path

import browser
import numpy as np
import pytest
import trained
from torch import nn

from allaprima_export.core import in_bytes, to_opset, trace
from allaprima_export.float_edges import attach_float_edges, in_dcr
from allaprima_export.parity import Reference
from allaprima_export.pipeline import Exported, export
from allaprima_export.profiles import OPSET
from allaprima_train.generators.controls import as_tensors
from allaprima_train.run import Run

EXAMPLE = Path(__file__).parents[2] / "examples" / "04_in_a_browser.html"

HARNESS = """
<!doctype html><script type="module">
import * as ort from "./ort/ort.bundle.min.mjs";
for (const { name, backend, feeds } of await (await fetch("cases.json")).json()) {
  const path = `${backend} ${name}`;
  try {
    const session = await ort.InferenceSession.create(`${name}.onnx`, { executionProviders: [backend] });
    const given = Object.entries(feeds).map(([key, { dims, values }]) =>
      [key, new ort.Tensor("float32", Float32Array.from(values), dims)]);
    const { styled } = await session.run(Object.fromEntries(given));
    await fetch(path, { method: "POST", body: styled.data });
  } catch (error) {
    await fetch(path, { method: "POST", body: `${error}` });
  }
}
</script>
"""

WATCHED = """
<!doctype html><iframe src="page.html?bundle=study.prima&backend=BACKEND" allow="camera"></iframe>
<script type="module">
const frame = document.querySelector("iframe");
const at = (id) => frame.contentDocument?.getElementById(id);
const said = async (words) => {
  for (;;) {
    const found = at("said")?.textContent ?? "";
    if (words.test(found) || /error/i.test(found)) return found;
    await new Promise((next) => setTimeout(next, 50));
  }
};
const tell = (path, body) => fetch(path, { method: "POST", body });
await tell("golden", await said(/golden/));
await tell("controls", JSON.stringify([...at("controls").children].map((one) => one.textContent.trim())));
at("camera").click();
await tell("frames", await said(/frame [2-9]/));
const shown = at("painting"), data = () => shown.getContext("2d").getImageData(0, 0, shown.width, shown.height).data;
await tell("painting", data());
</script>
"""


def generators() -> dict[str, nn.Module]:
    """One of each kind."""
    return {
        "mobile": trained.strong("mobile", "nano"),
        "resnet": trained.strong("resnet", "small"),
        "enlarging": trained.strong("restorer", "nano-x2"),
        **trained.told(),
    }


def test_every_kind_of_network_paints_on_webgpu_and_webassembly(tmp_path: Path) -> None:
    browser.require()
    image, cases, expected = trained.soft(61, 93), [], {}
    pixels = {"dims": [1, 3, 61, 93], "values": (image.transpose(2, 0, 1).reshape(-1) / 255).tolist()}
    for name, generator in generators().items():
        model = attach_float_edges(
            in_dcr(to_opset(trace(in_bytes(generator)), OPSET)),
            period=generator.period,
            stride=generator.stride,
            margin=generator.margin,
            veil=generator.veil,
            scale=generator.scale,
        )
        (tmp_path / f"{name}.onnx").write_bytes(model.SerializeToString())
        feeds = {
            one.name: {"dims": [len(usual)], "values": usual.tolist()}
            for one, usual in zip(generator.controls, as_tensors(generator.controls), strict=True)
        }
        feeds |= {"image": pixels, "strength": {"dims": [1], "values": [1.0]}}
        cases += [{"name": name, "backend": backend, "feeds": feeds} for backend in ("webgpu", "wasm")]
        expected[name] = Reference(generator).paint(image, "test").astype(int)
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    (tmp_path / "page.html").write_text(HARNESS)
    answers = browser.posted(tmp_path, "page.html", len(cases))
    assert len(answers) == len(cases)
    for path, body in answers.items():
        wanted = expected[path.split()[1]]
        assert len(body) == 4 * wanted.size, f"{path}: {body[:400]!r}"
        painted = np.frombuffer(body, np.float32).reshape(3, *wanted.shape[:2]).transpose(1, 2, 0)
        assert np.abs(np.floor(255 * painted + 0.5) - wanted).max() <= 1, path


@pytest.mark.parametrize("backend", ["webgpu", "wasm"])
def test_the_example_proves_the_golden_pair_and_paints_the_camera(
    small_run: Run, tmp_path: Path, backend: str
) -> None:
    browser.require()
    export(small_run.folder, tmp_path / "study.prima", variants=["fp32"], planes=[], profiles=["web"])
    shutil.copy(EXAMPLE, tmp_path / "page.html")
    (tmp_path / "watched.html").write_text(WATCHED.replace("BACKEND", backend))
    answers = browser.posted(tmp_path, "watched.html", 4)
    assert answers["golden"].decode().startswith(f"{backend}, golden pair ")
    assert answers["golden"].endswith(b"as its maker saw it"), answers["golden"]
    assert json.loads(answers["controls"]) == ["strength"]
    assert answers["frames"].startswith(f"{backend}, 640x360, ".encode()), answers["frames"]
    painting = np.frombuffer(answers["painting"], np.uint8).reshape(360, 640, 4)
    assert (painting[..., 3] == 255).all()
    assert painting[..., :3].std() > 10  # Chromium's camera shows a green field and a turning disc


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?bundle=nothing.prima", "nothing.prima/manifest.json: 404"),
        ("?bundle=plain.prima&backend=webgpu", "has no file for WebGPU"),
    ],
)
def test_the_example_says_what_it_lacks(exported: Exported, tmp_path: Path, query: str, words: str) -> None:
    browser.require()
    (tmp_path / "plain.prima").symlink_to(exported.path)
    shutil.copy(EXAMPLE, tmp_path / "page.html")
    watched = WATCHED.replace("?bundle=study.prima&backend=BACKEND", query)
    (tmp_path / "watched.html").write_text(watched)
    assert words in browser.posted(tmp_path, "watched.html", 1)["golden"].decode()
