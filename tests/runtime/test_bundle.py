"""A bundle opens as folder, zip or lone model, and not if anything about it is not as promised."""

import io
import json
import os
import shutil
import stat
import warnings
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import bundles
import pytest

from allaprima import archive
from allaprima.archive import pack, seal
from allaprima.bundle import Bundle, find_style, styles
from allaprima.errors import BundleError, OutputError, QualityError, UsageError
from allaprima.manifest import State, Tolerance


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return bundles.make_bundle(tmp_path / "negative.prima")


@pytest.fixture
def packed(folder: Path, tmp_path: Path) -> Path:
    pack(folder, tmp_path / "packed.prima")
    return tmp_path / "packed.prima"


def refusal(path: Path) -> BundleError:
    with pytest.raises(BundleError) as caught:
        Bundle.open(path)
    assert str(path) in str(caught.value)
    return caught.value


def rezip(packed: Path, change) -> None:
    """Write the archive again with its members as `change` leaves them: a list of [ZipInfo, bytes]."""
    with zipfile.ZipFile(packed) as before:
        members = [[info, before.read(info)] for info in before.infolist()]
    change(members)
    with warnings.catch_warnings(), zipfile.ZipFile(packed, "w") as after:
        warnings.simplefilter("ignore")  # of duplicates, which are meant
        for info, data in members:
            after.writestr(info, data)


def test_folder_and_zip_hold_the_same_bundle(folder, packed):
    ours, theirs = Bundle.open(folder), Bundle.open(packed)
    assert ours.manifest == theirs.manifest
    for name in ours.manifest.files:
        assert ours.read(name) == theirs.read(name) == (folder / name).read_bytes()


def test_packing_twice_gives_the_same_bytes(folder, packed, tmp_path):
    for file in folder.rglob("*"):
        os.utime(file, (0, 0))
    pack(folder, tmp_path / "again.prima")
    assert packed.read_bytes() == (tmp_path / "again.prima").read_bytes()


def test_packing_does_not_replace_a_file_unasked_and_leaves_nothing_behind(folder, packed, tmp_path):
    before = packed.read_bytes()
    with pytest.raises(OutputError, match="exists"):
        pack(folder, packed)
    pack(folder, packed, overwrite=True)
    assert packed.read_bytes() == before
    with pytest.raises(OutputError):
        pack(folder, tmp_path / "no" / "such" / "folder.prima")
    assert not list(tmp_path.glob("**/*.part"))


def test_packing_replaces_no_folder_and_does_not_write_into_what_it_packs(folder, tmp_path):
    (tmp_path / "other.prima").mkdir()
    for path in (tmp_path / "other.prima", folder, folder / "packed.prima"):
        with pytest.raises(OutputError) as caught:
            pack(folder, path, overwrite=True)
        assert caught.value.code == "E_OUTPUT_FOLDER"
    assert not list((tmp_path / "other.prima").iterdir())
    assert Bundle.open(folder)


def test_lone_model_is_a_bundle_of_one_variant(tmp_path):
    promise = bundles.manifest(variants=(bundles.variant("fp32"), bundles.variant("fp16")))
    folder = bundles.make_bundle(tmp_path / "negative.prima", promise=promise)
    shutil.copy(folder / "model_fp16.onnx", tmp_path / "lone.onnx")
    lone = Bundle.open(tmp_path / "lone.onnx")
    assert [variant.name for variant in lone.manifest.variants] == ["fp16"]
    assert lone.manifest.controls == promise.controls
    assert lone.manifest.golden is None
    assert lone.read(lone.manifest.variants[0].file) == (folder / "model_fp16.onnx").read_bytes()


def test_lone_model_that_is_not_what_its_own_manifest_says_is_refused(tmp_path):
    metadata = bundles.manifest(controls=(), golden=None).metadata("fp32")
    (tmp_path / "lone.onnx").write_bytes(bundles.frame_model(metadata=metadata))
    assert "the manifest promises ['image']" in str(refusal(tmp_path / "lone.onnx"))


def test_model_of_another_program_is_not_a_bundle(tmp_path):
    (tmp_path / "other.onnx").write_bytes(bundles.frame_model())
    assert "allaprima export" in str(refusal(tmp_path / "other.onnx"))


@pytest.mark.parametrize(
    "name", ["model.onnx", "golden/image.png", "golden/styled.png", "card.md", "recipe.toml"]
)
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_one_changed_byte_in_any_file_is_refused(folder, tmp_path, name, kind):
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    if kind == "folder":
        (folder / name).write_bytes(data)
        error = refusal(folder)
    else:
        path = tmp_path / "packed.prima"
        pack(folder, path)
        rezip(
            path,
            lambda members: [
                member.__setitem__(1, bytes(data)) for member in members if member[0].filename == name
            ],
        )
        error = refusal(path)
    assert error.code == "E_BUNDLE_CHANGED"
    assert name in str(error)


def test_file_that_changes_after_opening_is_not_handed_out(folder):
    bundle = Bundle.open(folder)
    (folder / "card.md").write_text("# Positive\n")
    with pytest.raises(BundleError, match=r"card.md was changed"):
        bundle.read("card.md")


def test_missing_file_is_named(folder):
    (folder / "card.md").unlink()
    assert "card.md" in str(refusal(folder))


def test_extra_file_is_named(folder):
    (folder / "golden" / "more.bin").write_bytes(b"x")
    assert "golden/more.bin" in str(refusal(folder))


def test_link_is_refused_even_to_the_right_bytes(folder, tmp_path):
    shutil.move(folder / "card.md", tmp_path / "card.md")
    (folder / "card.md").symlink_to(tmp_path / "card.md")
    assert "link" in str(refusal(folder))


def test_linked_folder_inside_is_refused(folder, tmp_path):
    shutil.move(folder / "golden", tmp_path / "golden")
    (folder / "golden").symlink_to(tmp_path / "golden")
    assert "link" in str(refusal(folder))


def test_pipe_is_refused_and_not_waited_for(folder):
    os.mkfifo(folder / "pipe")
    assert "pipe" in str(refusal(folder))


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "evil.txt", "golden/../evil", "C:\\evil"])
def test_zip_with_a_member_too_many_is_refused_wherever_it_points(packed, name):
    rezip(packed, lambda members: members.append([zipfile.ZipInfo(name), b"x"]))
    assert refusal(packed).code == "E_BUNDLE_MEMBER"


def test_name_of_a_member_cannot_write_to_the_terminal(packed):
    rezip(packed, lambda members: members.append([zipfile.ZipInfo("\x1b[2Jevil"), b"x"]))
    assert r"'\x1b[2Jevil'" in str(refusal(packed))


def test_zip_with_a_member_twice_is_refused(packed):
    rezip(packed, lambda members: members.append(members[-1]))
    assert "twice" in str(refusal(packed))


def test_zip_with_a_link_is_refused(packed):
    def link(members):
        members[-1][0].external_attr = (stat.S_IFLNK | 0o777) << 16

    rezip(packed, link)
    assert "link" in str(refusal(packed))


def test_zip_bomb_is_refused_before_it_is_unpacked(folder, tmp_path):
    (folder / "card.md").write_bytes(b"\0" * (30 << 20))
    (folder / "manifest.json").unlink()
    seal(folder, bundles.manifest())
    bomb = tmp_path / "bomb.prima"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as made:
        for file in folder.rglob("*"):
            made.write(file, file.relative_to(folder))
    assert "100 times" in str(refusal(bomb))


def test_file_over_the_cap_is_refused_by_its_size_alone(folder, monkeypatch):
    monkeypatch.setattr(archive, "MAX_FILE_BYTES", 100)
    assert refusal(folder).code == "E_BUNDLE_LIMIT"


def test_too_many_files_are_refused(folder, monkeypatch):
    monkeypatch.setattr(archive, "MAX_FILES", 3)
    assert refusal(folder).code == "E_BUNDLE_LIMIT"


def test_deflated_zip_with_folder_entries_opens(folder, tmp_path):
    shutil.make_archive(str(tmp_path / "again"), "zip", folder)
    assert Bundle.open(tmp_path / "again.zip").manifest == Bundle.open(folder).manifest


def test_manifest_that_speaks_of_a_file_it_does_not_list_is_refused(folder):
    table = json.loads((folder / "manifest.json").read_bytes())
    del table["files"]["recipe.toml"]
    (folder / "recipe.toml").unlink()
    (folder / "manifest.json").write_text(json.dumps(table))
    assert "recipe.toml" in str(refusal(folder))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
        (b"\x93NUMPY", "neither a zip nor an ONNX file"),
        (b"PK\x03\x04 and no more", "zip is damaged"),
    ],
)
def test_file_that_is_no_bundle_is_named(tmp_path, data, reason):
    path = tmp_path / "thing.prima"
    path.write_bytes(data)
    assert reason in str(refusal(path))


def test_missing_path_and_folder_without_manifest_are_told_apart(tmp_path):
    assert refusal(tmp_path / "none.prima").code == "E_BUNDLE_MISSING"
    assert "manifest.json" in str(refusal(tmp_path))


def open_damaged(path: Path, data: bytes) -> None:
    """Whole, or a BundleError: anything else is a bug of ours."""
    path.write_bytes(data)
    try:
        bundle = Bundle.open(path)
        for name in bundle.manifest.files:
            bundle.read(name)
    except BundleError:
        return


def test_zip_damaged_anywhere_is_refused_or_whole(packed, tmp_path):
    whole = packed.read_bytes()
    for at in range(0, len(whole), 61):
        open_damaged(tmp_path / "damaged.prima", whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])


@pytest.mark.parametrize("bits", [0xFF, 0x08, 0x01])
def test_zip_with_any_byte_of_its_directory_damaged_is_refused_or_whole(packed, tmp_path, bits):
    whole = packed.read_bytes()
    for at in range(whole.index(b"PK\x01\x02"), len(whole)):
        open_damaged(tmp_path / "damaged.prima", whole[:at] + bytes([whole[at] ^ bits]) + whole[at + 1 :])


def test_zip_with_a_name_that_is_not_utf8_is_refused(packed):
    rezip(packed, lambda members: members.append([zipfile.ZipInfo("é.txt"), b"x"]))
    packed.write_bytes(packed.read_bytes().replace("é".encode(), b"\xff\xfe"))
    assert "zip is damaged" in str(refusal(packed))


def test_sealing_refuses_a_variant_out_of_tolerance(folder):
    promise = bundles.manifest()
    far = replace(promise.variants[0].parity, tolerance=Tolerance(psnr_db=99, ssim=0.9))
    with pytest.raises(QualityError, match="'fp32' is too far from numpy"):
        seal(folder, replace(promise, variants=(replace(promise.variants[0], parity=far),)))


def test_sealing_refuses_a_model_that_carries_another_manifest(folder):
    with pytest.raises(BundleError, match="metadata") as caught:
        seal(folder, bundles.manifest(title="Another"))
    assert caught.value.code == "E_BUNDLE_METADATA"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"controls": ()}, r"inputs: \['image', 'strength'\]; the manifest promises \['image'\]"),
        ({"states": (State(name="memory", shape=("height",)),)}, "'memory'"),
        ({"variants": (replace(bundles.variant("fp32"), opset=17),)}, "opset: 18; the manifest promises 17"),
        ({"variants": (replace(bundles.variant("fp32"), ir_version=8),)}, "IR version: 10"),
    ],
)
def test_model_that_is_not_what_the_manifest_says_is_refused(tmp_path, change, reason):
    golden = replace(bundles.manifest().golden, controls={})
    with pytest.raises(BundleError, match=reason):
        bundles.make_bundle(tmp_path / "negative.prima", promise=bundles.manifest(golden=golden, **change))


def test_model_of_another_shape_than_the_manifest_says_is_refused(tmp_path):
    of_one_size = bundles.manifest()
    model = partial(bundles.frame_model, size=(32, 32))
    with pytest.raises(
        BundleError, match=r"its 'image' is \[1, 32, 32, 3\]; the manifest promises \[1, 'height'"
    ):
        bundles.make_bundle(tmp_path / "a.prima", promise=of_one_size, model=lambda m: model(metadata=m))
    other_size = bundles.manifest(variants=(bundles.variant("fp32-32x48", fixed=(32, 48)),))
    with pytest.raises(BundleError, match=r"'image' is \[1, 32, 32, 3\]"):
        bundles.make_bundle(tmp_path / "b.prima", promise=other_size, model=lambda m: model(metadata=m))


def test_bundle_without_a_golden_pair_is_refused(folder):
    table = json.loads((folder / "manifest.json").read_bytes())
    table["golden"] = None
    (folder / "manifest.json").write_text(json.dumps(table))
    assert refusal(folder).code == "E_BUNDLE_GOLDEN"


def test_model_that_is_no_variant_is_refused(folder):
    (folder / "more.onnx").write_bytes(b"anything")
    with pytest.raises(BundleError, match=r"more.onnx.*none of the manifest's variants"):
        seal(folder, bundles.manifest())


def test_unknown_variant_lists_those_that_there_are(folder):
    with pytest.raises(UsageError, match=r"did you mean 'fp32'.*choose one of fp32"):
        Bundle.open(folder).variant("fp23")


def test_styles_are_found_by_name_in_the_users_folder_first(folder, monkeypatch):
    monkeypatch.setenv("ALLAPRIMA_STYLES", str(folder.parent))
    assert styles()["negative"] == folder
    assert find_style("negative") == folder


def test_unknown_style_comes_with_the_nearest_and_the_list(folder, monkeypatch):
    monkeypatch.setenv("ALLAPRIMA_STYLES", str(folder.parent))
    with pytest.raises(
        UsageError, match=r"'negativ'; did you mean 'negative'\?.*the styles here are: .*negative"
    ) as caught:
        find_style("negativ")
    assert caught.value.code == "E_STYLE_UNKNOWN"


def test_what_looks_like_a_path_is_one(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert find_style("negative.prima") == Path("negative.prima")
    assert find_style("./x/y") == Path("x/y")
    assert find_style(folder) == folder


def test_home_of_a_user_that_there_is_not_is_an_ordinary_path():
    assert find_style("~nobodyx/a.prima") == Path("~nobodyx/a.prima")


def test_without_a_home_there_are_the_shipped_styles(monkeypatch, folder):
    monkeypatch.setenv("ALLAPRIMA_STYLES", str(folder.parent / "none"))
    shipped = styles()
    for variable in ("ALLAPRIMA_STYLES", "XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)

    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert styles() == shipped
    assert find_style("~/a.prima") == Path("~/a.prima")


def test_metadata_reads_back_in_onnxruntime(folder):
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession((folder / "model.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    promised = replace(Bundle.open(folder).manifest, files={})
    assert json.load(io.StringIO(metadata["allaprima.manifest"])) == json.loads(promised.to_json())
