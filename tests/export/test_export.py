"""From a run folder to a bundle that opens, paints and proves itself; or to nothing at all."""

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import trained
from PIL import Image as Pictures

from allaprima.bundle import Bundle
from allaprima.check import check
from allaprima.errors import DeviceError, InputError, OutputError, QualityError, UsageError
from allaprima.metrics import compare
from allaprima.stylizer import Stylizer
from allaprima_export import cli, pack
from allaprima_export.pack import staged
from allaprima_export.pipeline import Exported, export
from allaprima_export.scenes import golden_scene
from allaprima_train.recipe import load_recipe
from allaprima_train.run import Run

FLOATS: Any = {"variants": ["fp32", "fp16"], "planes": [], "fixed": [(64, 48)]}  # what engines are built of


def test_the_bundle_opens_and_paints_like_its_golden_pair(exported: Exported) -> None:
    bundle = Bundle.open(exported.path)
    with Stylizer.open(bundle, backend="ort", precision="fp32") as stylizer:
        styled = stylizer.paint(golden_scene())
        assert stylizer.paint(np.zeros((7, 5, 3), np.uint8)).shape == (7, 5, 3)
    expected = np.asarray(Pictures.open(exported.path / "golden" / "styled.png"))
    assert np.array_equal(np.asarray(Pictures.open(exported.path / "golden" / "image.png")), golden_scene())
    assert compare(styled, expected).max_difference <= 1
    assert compare(styled, golden_scene()).psnr_db < 30  # it is a painting
    ran = [one for one in check(bundle) if one.ran]
    assert ran
    assert all(ran)


def test_the_bundle_holds_what_its_users_need(exported: Exported, small_run: Run) -> None:
    manifest = exported.manifest
    assert manifest.name == "small-study"
    assert [one.name for one in manifest.variants] == [
        *("fp32", "fp16", "fp32-planes", "fp16-planes", "fp32-48x64", "fp16-48x64")
    ]
    assert {one.file for one in manifest.variants} == {
        "model.onnx", "model_fp16.onnx", "model_48x64.onnx", "model_fp16_48x64.onnx",
        "model_planes.onnx", "model_fp16_planes.onnx",
    }  # fmt: skip
    assert set(manifest.files) - {one.file for one in manifest.variants} == {
        "card.md", "LICENSE.txt", "recipe.toml", "golden/image.png", "golden/styled.png",
        "golden/planes.png", "golden/styled_planes.png",
    }  # fmt: skip
    assert load_recipe(exported.path / "recipe.toml") == small_run.recipe()
    assert "Apache License" in (exported.path / "LICENSE.txt").read_text()
    card = (exported.path / "card.md").read_text()
    for word in (
        "A small study",
        "drawn by arithmetic",
        "held out",
        "PSNR",
        "Grid",
        "mobile-nano",
        "7 steps",
    ):
        assert word in card
    assert manifest.lineage.steps == 7
    assert manifest.geometry.margin >= 16


def test_a_lone_onnx_file_says_what_it_is(exported: Exported) -> None:
    for variant in exported.manifest.variants:
        model = onnx.load(exported.path / variant.file, load_external_data=False)
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        picture = {key.removeprefix("Image."): value for key, value in metadata.items() if "Image." in key}
        assert picture == (
            {}
            if variant.edges == "planes"  # for which ONNX has no words
            else {
                "BitmapPixelFormat": "Rgb8",
                "NominalPixelRange": "NominalRange_0_255",
                "ColorSpaceGamma": "SRGB",
            }
        )
        assert metadata["allaprima.variant"] == variant.name
        inside = json.loads(metadata["allaprima.manifest"])
        assert inside["name"] == "small-study"
        assert inside["files"] == {}
        assert (model.opset_import[0].version, model.ir_version) == (variant.opset, variant.ir_version)
    alone = Bundle.open(exported.path / "model.onnx")
    with Stylizer.open(alone, backend="ort") as stylizer:
        assert stylizer.paint(golden_scene()).shape == golden_scene().shape


def test_every_variant_was_judged_on_pictures_that_were_held_out(exported: Exported) -> None:
    assert exported.judged.keys() == {one.name for one in exported.manifest.variants}
    assert exported.judged["fp32"].parity.frames == 2 + 9  # held out, drawn
    assert all(one.parity for one in exported.judged.values())
    assert exported.grid is not None
    assert exported.border is not None


@pytest.mark.usefixtures("traced_before")
def test_a_zip_opens_like_the_folder(small_run: Run, tmp_path: Path) -> None:
    out = tmp_path / "study.prima"
    export(small_run.folder, out, variants=["fp32"], planes=[], as_zip=True, opset=17)
    assert out.is_file()
    bundle = Bundle.open(out)
    assert [(one.name, one.opset, one.ir_version) for one in bundle.manifest.variants] == [("fp32", 17, 8)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.prima"]


def test_the_reference_network_exports_too(tmp_path: Path) -> None:
    run = trained.make_run(tmp_path / "r", trained.strong("resnet", "small"), "resnet", "small")
    made = export(run.folder, tmp_path / "reference.prima", variants=["fp32"], planes=[])
    assert "tiles" in made.manifest.lineage.notes


def poisoned(folder: Path, poison: float) -> Run:
    generator = trained.strong("mobile", "nano")
    with torch.no_grad():
        generator.up.filter.fill_(poison)
    return trained.make_run(folder, generator, "mobile", "nano")


def test_a_poisoned_network_leaves_nothing_behind(tmp_path: Path) -> None:
    run = poisoned(tmp_path / "r", torch.nan)
    with pytest.raises(QualityError):
        export(run.folder, tmp_path / "bad.prima")
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_weights_that_overflow_fp16_drop_that_variant_only(tmp_path: Path) -> None:
    run = poisoned(tmp_path / "r", 1e7)
    made = export(run.folder, tmp_path / "large.prima", variants=["fp32", "fp16"], planes=[])
    assert [one.name for one in made.manifest.variants] == ["fp32"]
    assert "not finite" in made.dropped[0].why_not


@pytest.mark.usefixtures("traced_before")
def test_a_variant_out_of_tolerance_leaves_nothing_behind(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from allaprima_export import edges, variants

    def off_by_a_pixel(core: onnx.ModelProto, **options: object) -> onnx.ModelProto:
        return edges.attach_edges(core, **{**options, "margin": 8})  # type: ignore[arg-type]

    monkeypatch.setattr(variants, "attach_edges", off_by_a_pixel)
    with pytest.raises(QualityError) as caught:
        export(small_run.folder, tmp_path / "bad.prima")
    assert caught.value.code == "E_PARITY"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("traced_before")
def test_a_failure_while_packing_leaves_the_old_bundle(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from allaprima_export import pipeline

    out = tmp_path / "study.prima"
    out.mkdir()
    (out / "manifest.json").write_text("{}")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pipeline, "write_png", full)
    with pytest.raises(OutputError):
        export(small_run.folder, out, variants=["fp32"], planes=[], overwrite=True)
    assert (out / "manifest.json").read_text() == "{}"
    assert [path.name for path in tmp_path.iterdir()] == ["study.prima"]


@pytest.mark.usefixtures("traced_before")
def test_what_exists_is_only_replaced_when_asked_and_only_if_it_is_a_bundle(
    small_run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "study.prima"
    out.mkdir()
    (out / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists"):
        export(small_run.folder, out)
    with pytest.raises(OutputError, match="not a bundle"):
        export(small_run.folder, out, overwrite=True)
    assert (out / "holiday.jpg").read_bytes() == b"mine"
    (out / "holiday.jpg").unlink()
    (out / "manifest.json").write_text("{}")
    export(small_run.folder, out, variants=["fp32"], planes=[], overwrite=True)
    assert Bundle.open(out).manifest.name == "small-study"
    assert [path.name for path in tmp_path.iterdir()] == ["study.prima"]


@pytest.fixture
def any_zip(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of names: what is zipped need not be a bundle."""
    from allaprima_export import pack

    monkeypatch.setattr(pack, "pack", lambda folder, file: file.write_bytes(b"a new zip"))


def bundle_at(place: Path, as_zip: bool) -> bytes:
    """Something that stands for an old bundle; its one file's content."""
    if as_zip:
        place.write_bytes(b"an old zip")
    else:
        place.mkdir()
        (place / "manifest.json").write_text("an old folder")
    return b"an old zip" if as_zip else b"an old folder"


@pytest.mark.usefixtures("any_zip")
@pytest.mark.parametrize("as_zip", [False, True])
@pytest.mark.parametrize("was_zip", [False, True])
def test_folders_and_zips_replace_each_other(tmp_path: Path, as_zip: bool, was_zip: bool) -> None:
    out = tmp_path / "study.prima"
    bundle_at(out, was_zip)
    with staged(out, as_zip=as_zip) as folder:
        (folder / "manifest.json").write_text("a new one")
    assert out.is_file() == as_zip
    assert as_zip or (out / "manifest.json").read_text() == "a new one"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.usefixtures("any_zip")
@pytest.mark.parametrize("as_zip", [False, True])
@pytest.mark.parametrize("was_zip", [False, True])
def test_a_bundle_comes_back_when_its_successor_cannot_take_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_zip: bool, was_zip: bool
) -> None:
    out = tmp_path / "study.prima"
    old = bundle_at(out, was_zip)
    replace = os.replace

    def refused(source: Path, target: Path) -> None:
        if Path(target) == out and ".part" in str(source):
            raise PermissionError(13, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(OutputError), staged(out, as_zip=as_zip) as folder:
        (folder / "manifest.json").write_text("a new one")
    assert (out if was_zip else out / "manifest.json").read_bytes() == old
    assert list(tmp_path.iterdir()) == [out]


def test_the_onnx_runtime_for_gpus_can_export_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the same module under another distribution's name."""
    import onnxruntime

    def version(name: str) -> str:
        if name == "onnxruntime":
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(pack, "version", version)
    assert pack.versions("torch")["onnxruntime"] == onnxruntime.__version__


@pytest.mark.usefixtures("traced_before")
def test_the_lineage_tells_changes_and_the_feature_network(small_run: Run, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    shutil.copytree(small_run.folder, run.folder)
    recipe = run.recipe()
    lower = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, learning_rate=5e-4))
    run.change(lower, run.changed_by(lower, ["train.learning_rate"]), step=3)
    run.save_weights(run.generator()[0], {"step": "7", "features": "vgg.safetensors, SHA-256 ab12"})
    lineage = export(run.folder, tmp_path / "study.prima", variants=["fp32"], planes=[]).manifest.lineage
    assert "Changed at step 3: train.learning_rate 0.001 -> 0.0005." in lineage.notes
    assert lineage.features.endswith("; vgg.safetensors, SHA-256 ab12")
    assert "SHA-256" in (tmp_path / "study.prima" / "card.md").read_text()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"variants": ["fp23"]}, "E_EXPORT_VARIANT"),
        ({"variants": []}, "E_EXPORT_VARIANT"),
        ({"fixed": [(8, 720)]}, "E_EXPORT_SIZE"),
        ({"opset": 9}, "E_EXPORT_OPSET"),
        ({"out": "study.onnx"}, "E_EXPORT_NAME"),
    ],
)
def test_what_cannot_be_exported_is_said_in_words(
    small_run: Run, tmp_path: Path, options: dict[str, object], code: str
) -> None:
    out = tmp_path / str(options.pop("out", "study.prima"))
    with pytest.raises(UsageError) as caught:
        export(small_run.folder, out, **options)  # type: ignore[arg-type]
    assert caught.value.code == code
    assert caught.value.next
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_exported_once_more_in_other_forms(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody has a style and no run, and wants it on a phone: the same network, with the same words about it."""
    again = export(exported.path, tmp_path / "again.prima", variants=["fp32"], planes=[], profiles=["web"])
    assert [one.name for one in again.manifest.variants] == ["fp32", "web"]
    assert again.manifest.lineage == exported.manifest.lineage
    assert again.manifest.licence == exported.manifest.licence
    for file in ("recipe.toml", "golden/image.png"):
        assert (again.path / file).read_bytes() == (exported.path / file).read_bytes()
    image = trained.soft(61, 93)
    paintings = []
    for path in (exported.path, again.path):
        with Stylizer.open(Bundle.open(path), backend="ort", precision="fp32") as stylizer:
            paintings.append(stylizer.paint(image).astype(int))
    assert np.abs(paintings[0] - paintings[1]).max() <= 1
    with pytest.raises(UsageError, match="--direction"):
        export(exported.path, tmp_path / "back.prima", direction="back")

    # from a folder that is called like a style that ships, and onto itself
    monkeypatch.chdir(tmp_path)
    shutil.copytree(exported.path, "starry")
    for one in ("starry", "own.prima"):
        export(Path(one), Path("own.prima"), variants=["fp32"], planes=[], overwrite=True)
        with Stylizer.open(Bundle.open(tmp_path / "own.prima"), backend="ort", precision="fp32") as stylizer:
            assert np.abs(stylizer.paint(image) - paintings[0]).max() <= 1

    # by the name of a style, as everywhere
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    shutil.copytree(exported.path, shelf / "study.prima")
    monkeypatch.setenv("ALLAPRIMA_STYLES", str(shelf))
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    words = ["study", "--profile", "portable", "--no-planes", "--out", "named.prima", "--json"]
    assert cli.run(parser.parse_args(words)) == 0
    assert [one.name for one in Bundle.open(tmp_path / "named.prima").manifest.variants] == [
        "fp32",
        "portable",
    ]


def test_stages_after_painting_are_kept_where_bytes_are(
    small_run: Run, traced_before: None, tmp_path: Path
) -> None:
    options: Any = {"variants": ["fp32"], "planes": []}
    first = export(small_run.folder, tmp_path / "first.prima", post=["sharpen", "grain"], **options)
    again = export(first.path, tmp_path / "again.prima", **options)
    assert again.manifest.controls == first.manifest.controls
    assert [one.name for one in again.manifest.controls][-3:] == ["sharpen", "grain", "grain_phase"]
    web = export(first.path, tmp_path / "web.prima", profiles=["web"], **options)
    assert [one.name for one in web.manifest.controls] == ["strength"]
    assert "left out, because they work on bytes: sharpen, grain" in web.notes


def test_what_was_imported_is_not_exported_once_more(exported: Exported, tmp_path: Path) -> None:
    other = tmp_path / "foreign.prima"
    shutil.copytree(exported.path, other)
    (other / "recipe.toml").rename(other / "import.toml")
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["lineage"]["recipe"] = "import.toml"
    manifest["files"]["import.toml"] = manifest["files"].pop("recipe.toml")
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="was not trained here") as caught:
        export(other, tmp_path / "again.prima")
    assert "allaprima import" in (caught.value.next or "")
    assert not (tmp_path / "again.prima").exists()


def test_a_folder_that_is_no_run_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a training run"):
        export(tmp_path, tmp_path / "x.prima")


@pytest.mark.usefixtures("traced_before")
def test_the_command_reports_in_json(
    small_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    out = tmp_path / "study.prima"
    asked = parser.parse_args(
        [
            str(small_run.folder),
            "--out",
            str(out),
            "--variants",
            "fp32",
            "--no-planes",
            "--at",
            "64x32",
            "--json",
        ]
    )
    assert cli.run(asked) == 0
    said = json.loads(capsys.readouterr().out)
    assert list(said["variants"]) == ["fp32", "fp32-32x64"]
    assert said["variants"]["fp32"]["parity"]["max_difference"] <= 1
    assert Bundle.open(out)


def test_the_command_imports_neither_torch_nor_onnx_until_it_runs() -> None:
    program = (
        "import sys, allaprima_export.cli; print(sorted({'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert told.stdout.strip() == "[]"


def test_a_network_that_paints_larger_keeps_its_scale_from_training_to_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from allaprima.cli import main

    run = trained.make_run(tmp_path, trained.strong("restorer", "nano-x2"), "restorer", "nano-x2", "Twice")
    exported = export(
        run.folder, tmp_path / "twice.prima", variants=["fp32", "fp16"], planes=[], fixed=[(64, 48)]
    )
    assert exported.manifest.geometry.scale == 2
    assert exported.manifest.outputs[0].shape == (1, "2*height", "2*width", 3)
    assert all(one.identity for one in exported.checked if one.ran)
    photo = trained.soft(45, 61)
    Pictures.fromarray(photo).save(tmp_path / "photo.png")
    words = ["run", str(tmp_path / "photo.png"), "--style", str(exported.path), "--json", "--out"]
    assert main([*words, str(tmp_path / "large.png")]) == 0
    assert main([*words, str(tmp_path / "same.png"), "--strength", "0"]) == 0
    capsys.readouterr()
    assert np.asarray(Pictures.open(tmp_path / "large.png")).shape == (90, 122, 3)
    same = np.asarray(Pictures.open(tmp_path / "same.png"))
    assert np.array_equal(same, photo.repeat(2, 0).repeat(2, 1))


@pytest.mark.usefixtures("traced_before")
def test_engines_are_built_ahead_of_time_and_found_by_the_runtime(
    small_run: Run, tmp_path: Path, monkeypatch
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: pip install 'allaprima[rtx]'")
    monkeypatch.setenv("ALLAPRIMA_CACHE", str(tmp_path / "cache"))
    made = export(small_run.folder, tmp_path / "study.prima", **FLOATS, engines=["ada"])
    assert [one.key.line for one in made.engines] == [
        f"{precision} 64x48, sm89, tensorrt-rtx {made.engines[0].key.version}"
        for precision in ("fp16", "fp32")
    ]
    bundle = Bundle.open(made.path)
    stored = {record.sha256 for record in bundle.manifest.files.values()}
    assert all(one.key.model_sha256 in stored for one in made.engines)


@pytest.mark.usefixtures("traced_before")
def test_what_tensorrt_refuses_is_an_error_of_the_export_and_nothing_is_left(
    small_run: Run, tmp_path: Path, monkeypatch
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: pip install 'allaprima[rtx]'")
    monkeypatch.setenv("ALLAPRIMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("allaprima.engines.builder.floats_inside", lambda model: model)  # bytes as they were
    with pytest.raises(
        DeviceError, match=r"does not take small-study fp16-48x64 - node 'pad_.*' \(Pad\)"
    ) as caught:
        export(small_run.folder, tmp_path / "study.prima", **FLOATS, engines=["ada"])
    assert caught.value.code == "E_ENGINE_REFUSED"
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_engines_want_a_size_and_a_card_that_there_is(small_run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give --at 1280x720"):
        export(small_run.folder, tmp_path / "study.prima", engines=["ada"])
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: pip install 'allaprima[rtx]'")
    with pytest.raises(UsageError, match="no target 'hopper'"):
        export(small_run.folder, tmp_path / "study.prima", fixed=[(64, 48)], engines=["hopper"])
