"""What `--profile web` promises, in a browser: the files paint on WebGPU and WebAssembly what torch paints."""

import re
import shutil
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest
import trained
from torch import nn

from allaprima.demo import PHOTOGRAPH
from allaprima_export.core import in_bytes, to_opset, trace
from allaprima_export.float_edges import attach_float_edges, in_dcr
from allaprima_export.parity import Reference
from allaprima_export.pipeline import Exported, export
from allaprima_export.profiles import OPSET
from allaprima_train.generators.controls import as_tensors
from allaprima_train.run import Run

EXAMPLE = Path(__file__).parents[2] / "examples" / "04_in_a_browser.html"

PAINT = """async ({ name, backend, feeds }) => {
  const ort = await import("/ort/ort.bundle.min.mjs");
  const session = await ort.InferenceSession.create(`/${name}.onnx`, { executionProviders: [backend] });
  const given = Object.entries(feeds).map(([key, { dims, values }]) =>
    [key, new ort.Tensor("float32", Float32Array.from(values), dims)]);
  const { styled } = await session.run(Object.fromEntries(given));
  return [...styled.data];
}"""
PIXELS = "(one) => [...one.getContext('2d').getImageData(0, 0, one.width, one.height).data]"


def generators() -> dict[str, nn.Module]:
    """One of each kind."""
    return {
        "mobile": trained.strong("mobile", "nano"),
        "resnet": trained.strong("resnet", "small"),
        "enlarging": trained.strong("restorer", "nano-x2"),
        **trained.told(),
    }


def test_every_kind_of_network_paints_on_webgpu_and_webassembly(tmp_path: Path) -> None:
    browser.runtime()
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
    (tmp_path / "empty.html").write_text("<!doctype html>")
    with browser.served(tmp_path) as address, browser.browsing(f"{address}/empty.html") as page:
        for case in cases:
            wanted = expected[case["name"]]
            painted = np.float32(page.evaluate(PAINT, case)).reshape(3, *wanted.shape[:2]).transpose(1, 2, 0)
            assert np.abs(np.floor(255 * painted + 0.5) - wanted).max() <= 1, (case["name"], case["backend"])


def said(page: Any) -> str:
    return str(page.locator("#said").text_content())


@pytest.mark.parametrize("backend", ["webgpu", "wasm"])
def test_the_example_proves_the_golden_pair_and_paints_the_camera(
    small_run: Run, tmp_path: Path, backend: str
) -> None:
    browser.runtime()
    export(small_run.folder, tmp_path / "study.prima", variants=["fp32"], planes=[], profiles=["web"])
    shutil.copy(EXAMPLE, tmp_path / "page.html")
    with (
        browser.served(tmp_path) as address,
        browser.browsing(f"{address}/page.html?bundle=study.prima&backend={backend}") as page,
    ):
        page.locator("#camera:enabled").wait_for(timeout=60_000)
        assert said(page).startswith(f"{backend}, golden pair ")
        assert said(page).endswith("as its maker saw it")
        assert [text.strip() for text in page.locator("#controls label").all_text_contents()] == ["strength"]
        page.locator("#camera").click()
        page.locator("#said", has_text=re.compile("frame [2-9]")).wait_for(timeout=60_000)
        assert said(page).startswith(f"{backend}, 640x360, ")
        shown = np.uint8(page.locator("#painting").evaluate(PIXELS)).reshape(360, 640, 4)
        page.locator("#controls input").fill("0")  # the camera as it is
        page.locator("#picture").set_input_files(PHOTOGRAPH)
        page.locator("#said", has_text="512x512").wait_for(timeout=60_000)
        assert browser.fits(page)
        page.set_viewport_size({"width": 360, "height": 640})
        assert browser.fits(page)
    assert (shown[..., 3] == 255).all()
    assert shown[..., :3].std() > 10  # Chromium's camera shows a green field and a turning disc


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?bundle=nothing.prima", "nothing.prima/manifest.json: 404"),
        ("?bundle=plain.prima&backend=webgpu", "has no file for WebGPU"),
    ],
)
def test_the_example_says_what_it_lacks(exported: Exported, tmp_path: Path, query: str, words: str) -> None:
    browser.runtime()
    (tmp_path / "plain.prima").symlink_to(exported.path)
    shutil.copy(EXAMPLE, tmp_path / "page.html")
    with (
        browser.served(tmp_path) as address,
        browser.browsing(f"{address}/page.html{query}", fails=True) as page,
    ):
        page.locator("#said", has_text=words).wait_for(timeout=60_000)
