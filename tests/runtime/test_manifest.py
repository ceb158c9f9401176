"""The manifest reads back what it wrote, and refuses the rest in words."""

import json
from dataclasses import replace

import bundles
import pytest

from allaprima.errors import BundleError
from allaprima.manifest import (
    Control,
    FileRecord,
    Geometry,
    Manifest,
    Parity,
    State,
    TensorSpec,
    Tolerance,
    is_safe_name,
    resolve_shape,
)
from allaprima.metrics import Difference


def read(table: dict) -> Manifest:
    return Manifest.from_json(json.dumps(table), "x.prima/manifest.json")


def table() -> dict:
    made: dict = json.loads(bundles.manifest().to_json())
    return made


def test_manifest_reads_back_what_it_wrote():
    full = bundles.manifest(
        states=(State(name="memory", shape=(1, 8, "height/4", "width/4")),),
        variants=(bundles.variant("fp32"), bundles.variant("int8-720x1280", fixed=(720, 1280))),
        files={"model.onnx": FileRecord(sha256="0" * 64, bytes=1)},
    )
    assert Manifest.from_json(full.to_json(), "here") == full


def test_unknown_key_is_refused_with_the_near_one_and_the_file():
    wrong = table()
    wrong["geometry"]["minimun"] = 16
    with pytest.raises(
        BundleError, match=r"x.prima/manifest.json.*minimun.*did you mean 'minimum'"
    ) as caught:
        read(wrong)
    assert caught.value.code == "E_BUNDLE_MANIFEST"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.update(name="Starry Night"), "small letters"),
        (lambda t: t["variants"].append(t["variants"][0]), "'fp32' is the name of two variants"),
        (lambda t: t["variants"].clear(), "variants"),
        (lambda t: t["variants"][0].update(file="../model.onnx"), "plain relative file name"),
        (lambda t: t["controls"].append(dict(t["controls"][0], name="image")), "name of two inputs"),
        (lambda t: t["controls"][0].update(default=2.0), "outside 0.0..1.0"),
        (lambda t: t["golden"]["controls"].update(strenght=1.0), "'strenght', which is not a control"),
        (lambda t: t["inputs"].append(dict(t["inputs"][0], name="second")), "one picture for each"),
        (
            lambda t: t.update(inputs=[dict(t["inputs"][0], name=f"i{n}") for n in range(9)]),
            "1 to 8 pictures",
        ),
        (lambda t: t.update(inputs=[]), "1 to 8 pictures"),
        (lambda t: t["inputs"][0].update(layout="NCHW"), "NHWC"),
        (lambda t: t["inputs"][0].update(shape=[1, "h", "width", 3]), "'h'"),
        (lambda t: t["geometry"].update(minimum="16"), "minimum"),
        (lambda t: t["geometry"].update(scale=0), "scale"),
        (
            lambda t: t["inputs"][0].update(shape=[1, "width", "height", 3]),
            r"has to be \[1, height, width, 3\]",
        ),
        (lambda t: t["outputs"][0].update(shape=[1, 720, 1280, 3]), r"`outputs` is .* has to be \[1, height"),
        (lambda t: t["geometry"].update(scale=2), r"has to be \[1, 2\*height, 2\*width, 3\]"),
        (lambda t: t["geometry"].update(minimum=1_000_000), "minimum"),
        (lambda t: t["geometry"].update(multiple_of=1_000_000), "multiple_of"),
        (lambda t: t["geometry"].update(scale=1000), "scale"),
        (lambda t: t["controls"][0].update(shape=[1000, 1000]), "more than 4096 numbers"),
        (lambda t: t["variants"][0].update(ir_version=11), "ir_version"),
        (lambda t: t["variants"][0].update(fixed=[100_000, 100_000]), "fixed"),
        (
            lambda t: t.update(states=[{"name": "m", "shape": ["height", "width", "height"]}]),
            "numbers for each",
        ),
        (lambda t: t.update(states=[{"name": "m", "shape": ["height", -1]}]), "below 1"),
        (lambda t: t.update(states=[{"name": f"m{n}", "shape": [1]} for n in range(65)]), "more than 64"),
        (lambda t: t.pop("licence"), "needs a setting 'licence'"),
        (
            lambda t: t.update(files={"A": {"sha256": "0", "bytes": 1}, "a": {"sha256": "0", "bytes": 1}}),
            "two files",
        ),
    ],
)
def test_what_is_wrong_is_named(change, message):
    wrong = table()
    change(wrong)
    with pytest.raises(BundleError, match=message):
        read(wrong)


@pytest.mark.parametrize("character", ["\x1b", "\n", "\r", "\x00", "\x9b", "\u202e", "\ud800"])
@pytest.mark.parametrize(
    "put",
    [
        lambda t, word: t.update(title=word),
        lambda t, word: t.update(name=word),
        lambda t, word: t["controls"][0].update(help=word),
        lambda t, word: t["tool"].update({word: "1"}),
        lambda t, word: t["golden"]["controls"].update({word: 1.0}),
        lambda t, word: t["golden"].update(image=word),
        lambda t, word: t.update({word: "an unknown key"}),
    ],
)
def test_words_that_are_printed_cannot_move_the_cursor(put, character):
    wrong = table()
    put(wrong, f"Neg{character}ative")
    with pytest.raises(BundleError, match="control character") as caught:
        read(wrong)
    assert character not in str(caught.value)


def test_words_of_any_language_are_words_and_notes_may_have_lines():
    made = table()
    made["title"] = "Звёздная ночь, 星月夜, لیلة النجوم\u00a0🌌"
    made["lineage"]["notes"] = "one line\n\tand another"
    assert read(made).title == made["title"]


def test_manifest_of_a_newer_format_asks_for_an_upgrade():
    newer = {"format": "allaprima-bundle", "format_version": 2, "anything": "else"}
    with pytest.raises(BundleError, match=r"newer allaprima.*upgrade") as caught:
        read(newer)
    assert caught.value.code == "E_BUNDLE_NEWER"


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", b"[]", b"{", b"null", b"[" * 100_000, b'{"format": "other"}']
)
def test_what_is_no_manifest_is_refused(data):
    with pytest.raises(BundleError, match="here"):
        Manifest.from_json(data, "here")


def test_any_damaged_byte_is_refused_or_still_a_manifest():
    whole = bundles.manifest().to_json()
    for at in range(0, len(whole), 5):
        for byte in b'"}\x00\xff9':
            damaged = whole[:at] + bytes([byte]) + whole[at + 1 :]
            try:
                Manifest.from_json(damaged, "here")
            except BundleError:
                continue


@pytest.mark.parametrize(
    ("shape", "numbers"),
    [
        ((1, "height", "width", 3), (1, 37, 50, 3)),
        ((1, "2*height", "3*width", 3), (1, 74, 150, 3)),
        ((8, "height/4", "width/8"), (8, 10, 7)),
        (("2*height/3",), (25,)),
    ],
)
def test_shapes_follow_the_picture_and_round_up(shape, numbers):
    assert resolve_shape(shape, 37, 50) == numbers


@pytest.mark.parametrize("size", ["h", "height*2", "height/0", "0*height", "", "height/", "batch"])
def test_sizes_that_are_not_understood_are_refused(size):
    with pytest.raises(ValueError, match="none of height"):
        resolve_shape((size,), 64, 64)


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/x",
        "a/../b",
        "C:\\x",
        "C:x",
        "a\\b",
        "a//b",
        ".hidden",
        "-x",
        "~",
        "",
        "a/",
        "é",
        "a\n",
        "a/b/c/d",
    ],
)
def test_names_that_could_leave_the_bundle_are_not_safe(name):
    assert not is_safe_name(name)


@pytest.mark.parametrize("name", ["model.onnx", "golden/image.png", "model_fp32-720x1280.onnx", "_a/b/c"])
def test_plain_names_are_safe(name):
    assert is_safe_name(name)


def test_parity_keeps_the_worst_of_each_figure_and_is_truthy_within_tolerance():
    tolerance = Tolerance(psnr_db=40, ssim=0.98, max_difference=4)
    seen = [Difference(50.0, 0.99, 2), Difference(45.0, 0.999, 4)]
    parity = Parity.of(seen, against="numpy", tolerance=tolerance)
    assert (parity.psnr_db, parity.ssim, parity.max_difference, parity.frames) == (45.0, 0.99, 4, 2)
    assert parity
    assert not replace(parity, max_difference=5)
    assert not replace(parity, psnr_db=39.9)
    assert not replace(parity, ssim=0.97)
    assert replace(parity, max_difference=255, tolerance=replace(tolerance, max_difference=None))


def test_control_with_its_default_out_of_range_cannot_be_made():
    with pytest.raises(ValueError, match="outside"):
        Control(name="strength", default=2.0, help="x")


def test_a_variant_with_planes_takes_and_gives_planes() -> None:
    made = bundles.with_planes()
    assert list(made.takes(made.variants[0])) == ["image", "strength"]
    assert list(made.takes(made.variants[1])) == ["y", "u", "v", "strength"]
    assert {name: resolve_shape(one.shape, 17, 23) for name, one in made.gives(made.variants[1]).items()} == {
        "styled_y": (1, 17, 23, 1),
        "styled_u": (1, 9, 12, 1),
        "styled_v": (1, 9, 12, 1),
    }


def test_planes_of_twice_the_size_are_rounded_up_after_doubling() -> None:
    double = bundles.manifest(
        geometry=Geometry(scale=2), outputs=(TensorSpec(name="styled", shape=(1, "2*height", "2*width", 3)),)
    )
    gives = double.gives(replace(double.variants[0], edges="planes"))
    assert resolve_shape(gives["styled_y"].shape, 17, 23) == (1, 34, 46, 1)
    assert resolve_shape(gives["styled_u"].shape, 17, 23) == (1, 17, 23, 1)


def test_a_bundle_with_planes_has_a_golden_pair_of_planes() -> None:
    made = bundles.with_planes()
    assert made.golden
    with pytest.raises(ValueError, match="no `planes` and `styled_planes`"):
        replace(made, golden=replace(made.golden, planes=None))
    assert {"golden/planes.png", "golden/styled_planes.png"} < set(made.references())


def test_a_bundle_of_planes_only_or_with_a_control_of_their_names_is_refused() -> None:
    planes = replace(bundles.variant("fp32"), edges="planes")
    with pytest.raises(ValueError, match="no variant with edges 'rgb'"):
        bundles.manifest(variants=(planes,))
    with pytest.raises(ValueError, match="'u' is the name of two inputs"):
        bundles.manifest(
            variants=(bundles.variant("fp32"), replace(planes, name="fp32-planes")),
            controls=(Control(name="u", default=0.5, help="taken"),),
            golden=None,
        )
