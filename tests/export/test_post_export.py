"""Post-processing in the graph does what post-processing after it does."""

import numpy as np
import onnx
import pytest

from allaprima import backends
from allaprima.bundle import Bundle, find_style
from allaprima.cli import main
from allaprima.errors import UsageError
from allaprima.frame import Frame
from allaprima.post import STAGES, Post, grain_phase
from allaprima.stylizer import Stylizer
from allaprima_export.post import attach_post, post_controls


@pytest.fixture(scope="module")
def starry() -> onnx.ModelProto:
    bundle = Bundle.open(find_style("starry"))
    return onnx.load_model_from_string(bundle.read(bundle.manifest.variants[0].file))


def photo(height: int = 70, width: int = 97) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)


def run(model: onnx.ModelProto, image: np.ndarray, backend: str = "ort", **controls: float) -> np.ndarray:
    inputs = {"image": image[np.newaxis], "strength": np.ones(1, np.float32)}
    inputs |= {name: np.array([value], np.float32) for name, value in controls.items()}
    kind, device = backends.load(backend)
    runner = kind(model.SerializeToString(), inputs, precision="fp32", device=device, threads=1)
    return runner.run(inputs)["styled"][0]


def zeros(stages) -> dict[str, float]:
    return {control.name: 0.0 for control in post_controls(stages)}


@pytest.mark.parametrize("backend", ["ort", "openvino"])
@pytest.mark.parametrize("stages", [(stage,) for stage in STAGES] + [STAGES])
def test_a_stage_in_the_graph_is_the_stage_after_it(starry, stages, backend):
    image, index = photo(), 5
    painted = run(starry, image, backend)
    wanted = Post(**dict.fromkeys(stages, 0.7)).finish(image, painted, index)
    phase = {"grain_phase": grain_phase(index)} if "grain" in stages else {}
    found = run(attach_post(starry, stages), image, backend, **dict.fromkeys(stages, 0.7), **phase)
    assert np.abs(found.astype(int) - wanted).max() <= 1
    assert (found == wanted).mean() > 0.999
    assert (found != painted).mean() > 0.1


@pytest.mark.parametrize("backend", ["ort", "openvino"])
def test_stages_that_nobody_turns_change_nothing(starry, backend):
    image = photo()
    found = run(attach_post(starry, STAGES), image, backend, **zeros(STAGES))
    assert np.array_equal(found, run(starry, image, backend))


def test_controls_are_named_like_the_stages_in_their_order():
    assert [control.name for control in post_controls(["grain", "sharpen"])] == [
        "sharpen",
        "grain",
        "grain_phase",
    ]
    with pytest.raises(UsageError, match="sharpen"):
        post_controls(["sharpn"])


def test_an_exported_style_finishes_in_its_graph(tmp_path, small_run):
    out = tmp_path / "finished.prima"
    stages = ["--post", "match-palette,sharpen,grain"]
    assert main(["export", str(small_run.folder), "--out", str(out), "--variants", "fp32", *stages]) == 0
    bundle = Bundle.open(out)
    assert [control.name for control in bundle.manifest.controls] == [
        "strength", "match_palette", "sharpen", "grain", "grain_phase",
    ]  # fmt: skip
    source = Frame(photo(), index=7)
    post = Post(match_palette=0.6, sharpen=0.5, grain=0.3)
    with Stylizer.open(bundle, backend="ort") as plain, Stylizer.open(bundle, backend="ort") as finishing:
        finishing.finish(post)
        assert not finishing.post  # nothing is left to do after the graph
        wanted = post.finish(source.image, plain(source).image, 7)
        assert np.abs(finishing(source).image.astype(int) - wanted).max() <= 1
        assert not np.array_equal(finishing(Frame(photo(), index=8)).image, finishing(source).image)


def test_a_stage_that_does_not_exist_is_refused_before_anything_is_done(tmp_path, small_run, capsys):
    assert (
        main(["export", str(small_run.folder), "--out", str(tmp_path / "x.prima"), "--post", "sharpn"]) == 2
    )
    assert "sharpen" in capsys.readouterr().err
    assert not (tmp_path / "x.prima").exists()
