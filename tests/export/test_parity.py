"""The gate holds: what is not what was trained does not get through."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import trained
from onnx import numpy_helper

from allaprima.errors import InputError, QualityError
from allaprima_export.core import in_bytes, trace
from allaprima_export.edges import attach_edges
from allaprima_export.half import half
from allaprima_export.parity import TOLERANCES, Judged, Painter, Reference, judge, unseen, within
from allaprima_export.scenes import scenes
from allaprima_train.data import find_pictures, fingerprint, split
from allaprima_train.run import Run


def judged(core: onnx.ModelProto, generator: torch.nn.Module, precision: str = "fp32") -> Judged:
    sizes = {name: getattr(generator, name) for name in ("period", "stride", "margin", "veil")}
    model = attach_edges(core, **sizes)
    reference = Reference(generator)
    pictures = scenes()
    painted = {name: reference.paint(image, name) for name, image in pictures.items()}
    return judge(
        Painter(model.SerializeToString(), "ort", precision), pictures, painted, TOLERANCES[precision]
    )


def test_an_honest_export_passes_and_says_by_how_much() -> None:
    generator = trained.strong("mobile", "nano")
    found = judged(trained.traced("mobile", "nano"), generator)
    within(found, "fp32", "fp32")
    assert found.parity
    assert found.parity.frames == len(scenes())
    assert found.equal > 0.999


@pytest.mark.parametrize("layer", [0, -1])
def test_one_weight_that_differs_by_a_tenth_is_caught(layer: int) -> None:
    generator = trained.strong("mobile", "nano")
    core = trained.traced("mobile", "nano")
    tensor = [one for one in core.graph.initializer if one.name.endswith("weight")][layer]
    weights = numpy_helper.to_array(tensor).copy()
    weights[np.unravel_index(np.abs(weights).argmax(), weights.shape)] *= 1.1
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    with pytest.raises(QualityError, match="wanted: PSNR 68 dB") as caught:
        within(judged(core, generator), "fp32", "fp32")
    assert caught.value.code == "E_PARITY"
    assert caught.value.exit_status == 8


def test_swapped_colours_are_caught() -> None:
    generator = trained.strong("mobile", "nano")
    core = trained.traced("mobile", "nano")
    last = [node for node in core.graph.node if node.op_type == "Conv"][-1]
    head = next(one for one in core.graph.initializer if one.name == last.input[1])
    weights = numpy_helper.to_array(head).reshape(16, 3, -1)[:, ::-1].reshape(head.dims)
    head.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(weights), head.name))
    with pytest.raises(QualityError, match="largest difference"):
        within(judged(core, generator), "fp32", "fp32")


def test_weights_that_overflow_fp16_are_caught_in_the_fp16_variant_only() -> None:
    generator = trained.strong("mobile", "nano").folded()
    with torch.no_grad():  # the same function in fp32: one layer times 1e6, the next divided by it
        generator.stem.weight *= 1e6
        generator.stem.bias *= 1e6
        generator.down.weight /= 1e6
        generator.head.weight.zero_()
        generator.head.weight[:, :, 1, 1] = 1e-7
    generator.folded = lambda: generator
    core = trace(in_bytes(generator))
    within(judged(core, generator), "fp32", "fp32")
    with pytest.raises(QualityError) as caught:
        within(judged(half(core), generator, "fp16"), "fp16", "fp16")
    assert caught.value.code == "E_PARITY"


def test_an_answer_that_is_not_finite_is_caught_although_its_bytes_look_fine() -> None:
    generator = trained.strong("mobile", "nano").folded()
    with torch.no_grad():
        generator.head.weight.fill_(3e38)  # finite weights, infinite sums
    with pytest.raises(QualityError, match="noise 16x16 is not finite") as caught:
        Reference(generator).paint(scenes()["noise 16x16"], "noise 16x16")
    assert caught.value.code == "E_NOT_FINITE"


def test_parity_is_measured_on_what_the_training_held_out(small_run: Run) -> None:
    recipe = small_run.recipe()
    photos, source = unseen(recipe, None)
    trained_on, held_out = split(find_pictures(recipe.data.content), recipe.data.held_out, recipe.seed)
    assert set(photos) == {path.name for path in held_out}
    assert not set(photos) & {path.name for path in trained_on}
    assert source == "photographs held out from training"


def test_photographs_that_changed_since_the_training_do_not_count_as_unseen(small_run: Run) -> None:
    recipe = small_run.recipe()
    trained_on, held_out = split(find_pictures(recipe.data.content), recipe.data.held_out, recipe.seed)
    assert len(unseen(recipe, None, fingerprint(trained_on, held_out))[0]) == 2
    photos, source = unseen(recipe, None, fingerprint(trained_on[1:], held_out))
    assert photos == {}
    assert "have changed since" in source


def test_without_the_training_data_parity_says_that_it_saw_drawn_scenes_only(
    small_run: Run, tmp_path: Path
) -> None:
    import dataclasses

    recipe = small_run.recipe()
    elsewhere = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, content=(str(tmp_path),)))
    photos, source = unseen(elsewhere, None)
    assert photos == {}
    assert "drawn scenes only" in source


def test_given_pictures_are_used_and_large_ones_are_shrunk(small_run: Run, tmp_path: Path) -> None:
    from PIL import Image as Pictures

    Pictures.fromarray(trained.soft(400, 2000)).save(tmp_path / "wide.png")
    photos, source = unseen(small_run.recipe(), tmp_path)
    assert photos["wide.png"].shape == (192, 960, 3)
    assert source == "pictures given to export"


def test_pictures_that_cannot_be_read_are_skipped_and_named(
    small_run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from PIL import Image as Pictures

    Pictures.fromarray(trained.soft(40, 50)).save(tmp_path / "b.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "b.png").read_bytes()[:2000])
    assert list(unseen(small_run.recipe(), tmp_path)[0]) == ["b.png"]
    assert "a.png" in caplog.text
    (tmp_path / "b.png").write_text("not a picture")
    with pytest.raises(InputError, match="none of them can be read"):
        unseen(small_run.recipe(), tmp_path)


def test_a_folder_of_pictures_that_is_not_there_is_about_the_option(small_run: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder") as caught:
        unseen(small_run.recipe(), tmp_path / "nowhere")
    assert caught.value.next.startswith("give --pictures")


def test_kernels_in_fp16_add_up_to_what_they_did() -> None:
    """Or a shuffle lays answers beside each other in a plain sky that are apart by rounding: a lattice."""
    core = trained.traced("mobile", "nano-fine")
    kernels = {node.input[1] for node in core.graph.node if node.op_type == "Conv"}
    before, after = (
        {one.name: numpy_helper.to_array(one).astype(np.float64) for one in made.graph.initializer}
        for made in (core, half(core))
    )
    for name in kernels:
        whole, found = before[name], after[name]
        by_itself = np.abs((whole.astype(np.float16) - whole).sum((2, 3))).max()
        assert np.abs((found - whole).sum((2, 3))).max() < 0.2 * by_itself
        assert np.abs(found - whole).max() < 0.004 * np.abs(whole).max()
