"""Engines: what a key holds, the cache under several processes, and TensorRT-RTX really building, without a card."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundles
import onnx
import pytest
import stand_in

from allaprima import engines
from allaprima.bundle import Bundle, styles
from allaprima.cuda import Gpu
from allaprima.engines import Cache, Options, Proof, Range, Request, Vendor, build_apart, build_here
from allaprima.engines.builder import Progress
from allaprima.engines.flavour import FLAVOURS, load_flavour, target_of
from allaprima.errors import AllaPrimaError, DeviceError, OutputError, RunError, UsageError

GPU = Gpu("NVIDIA GeForce RTX 4090", 89, 13000, 24 << 30)
SHAPES = {"image": (1, 40, 56, 3), "strength": (1,)}
TARGETS = (80, 86, 89, 120)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "engines")


@pytest.fixture
def vendor() -> Vendor:
    return Vendor(FLAVOURS["standard"], stand_in.tensorrt(stand_in.Bindings(), "11.4.0"))


@pytest.fixture(scope="module")
def rtx() -> Vendor:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: pip install 'allaprima[rtx]'")
    return load_flavour("rtx")


def request(vendor: Vendor, **changes: Any) -> Request:
    given: dict[str, Any] = {"precision": "fp32", "vendor": vendor, "gpu": GPU, "what": "negative fp32"}
    return engines.engine_request(bundles.frame_model(), SHAPES, **{**given, **changes})


def shipped(*, for_cards: bool = True) -> list[Any]:
    """Every variant of every style; or those that were measured faster on processors only, and are not for cards."""
    found = []
    for bundle in map(Bundle.open, styles().values()):
        for variant in bundle.manifest.variants:
            if (not variant.made_for or "tensorrt" in variant.made_for) is not for_cards:
                continue
            found.append(pytest.param(bundle, variant, id=f"{bundle.manifest.name}-{variant.name}"))
    return found


# the key


def test_everything_that_makes_an_engine_wrong_makes_another_key(vendor: Vendor) -> None:
    key = request(vendor).key
    others = [
        replace(key, **{name: value})
        for name, value in {
            "model_sha256": "another style, the same network",
            "edges": 99,
            "flavour": "tensorrt_rtx",
            "version": "11.4.1",
            "platform": "linux-aarch64",
            "gpu": "NVIDIA GeForce RTX 4080",
            "sm": 86,
            "driver": 12080,
            "precision": "fp16",
            "tf32": True,
        }.items()
    ]
    others.append(request(vendor, gpu=replace(GPU, name="NVIDIA L4")).key)
    for other in others:
        assert other.digest != key.digest
        assert not other.fits(key)
        assert not key.fits(other)


def test_how_hard_it_was_built_is_in_the_name_and_makes_no_engine_wrong(vendor: Vendor) -> None:
    key = request(vendor).key
    for options in (Options(level=5), Options(workspace_mib=512), Options(timing_cache=False)):
        other = request(vendor, options=options).key
        assert other.digest != key.digest
        assert other.fits(key)


def test_a_range_fits_every_size_in_it_and_a_size_no_other(vendor: Vendor) -> None:
    key = request(vendor).key
    image = Range(least=(1, 16, 16, 3), best=(1, 40, 56, 3), most=(1, 64, 64, 3))
    wide = replace(key, shapes={**key.shapes, "image": image})
    assert wide.fits(key)
    assert not key.fits(wide)
    assert wide.size == "16x16..56x40..64x64"
    beyond = Range(least=(1, 40, 65, 3), best=(1, 40, 65, 3), most=(1, 40, 65, 3))
    assert not wide.fits(replace(key, shapes={**key.shapes, "image": beyond}))
    with pytest.raises(ValueError, match="does not lie between"):
        Range(least=(2,), best=(1,), most=(3,))


def test_a_flavour_that_does_not_load_leaves_the_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from allaprima.engines import flavour

    rtx = Vendor(FLAVOURS["rtx"], stand_in.tensorrt(stand_in.Bindings(), "1.7.1"))

    def installed(wanted: Any) -> Vendor:
        if wanted.word == "standard":
            raise OSError("libnvinfer.so.11: cannot open shared object file")
        return rtx

    monkeypatch.setattr(flavour, "_vendor", installed)
    assert load_flavour(None) is rtx
    with pytest.raises(
        DeviceError, match=r"tensorrt does not load: libnvinfer.so.11.*install tensorrt again"
    ):
        load_flavour("standard")


def test_engines_of_rtx_are_for_a_compute_capability_and_no_driver(vendor: Vendor) -> None:
    rtx = Vendor(FLAVOURS["rtx"], stand_in.tensorrt(stand_in.Bindings(), "1.7.1"))
    here, ahead = request(rtx).key, request(rtx, gpu=None, sm=89).key
    assert here == ahead
    assert (here.gpu, here.sm, here.driver) == ("", 89, 0)
    with pytest.raises(UsageError, match="needs the card that the engine is for"):
        request(vendor, gpu=None, sm=89)


def test_targets_have_names_and_numbers_and_wrong_ones_get_the_nearest(vendor: Vendor) -> None:
    rtx = Vendor(FLAVOURS["rtx"], stand_in.tensorrt(stand_in.Bindings(), "1.7.1"))
    assert [target_of(word, rtx) for word in ("ada", "sm80", "Blackwell")] == [89, 80, 120]
    with pytest.raises(
        UsageError, match=r"no target 'adda'; did you mean 'ada'.*choose one of turing, ampere"
    ):
        target_of("adda", rtx)
    with pytest.raises(UsageError, match="no target 'sm90'"):
        target_of("sm90", rtx)
    with pytest.raises(UsageError, match=r"builds for the card that is here.*allaprima\[rtx\]"):
        target_of("ada", vendor)


# the cache


def test_an_engine_is_found_loaded_proven_and_removed(cache: Cache, vendor: Vendor) -> None:
    wanted = request(vendor)
    assert cache.find(wanted.key) is None
    entry = build_here(wanted, cache, vendor)
    assert cache.find(wanted.key) == entry
    data = cache.load(entry)
    assert data is not None
    assert entry.proof is None
    proof = Proof(against="the golden pair", psnr_db=51.2, on="a card", when="2026-11-21T00:00:00Z")
    assert cache.find(wanted.key) != (proven := cache.prove(entry, proof))
    assert cache.find(wanted.key) == proven
    cache.remove(wanted.key)
    assert list(cache.folder.glob("*.engine")) == list(cache.folder.glob("*.json")) == []


def test_exactly_this_size_comes_before_a_range_and_the_higher_level_before_the_lower(
    cache: Cache, vendor: Vendor
) -> None:
    wanted = request(vendor)
    image = Range(least=(1, 16, 16, 3), best=(1, 40, 56, 3), most=(1, 64, 64, 3))
    wide = replace(wanted, key=replace(wanted.key, shapes={**wanted.key.shapes, "image": image}))
    build_here(wide, cache, vendor)
    assert cache.find(wanted.key).key == wide.key
    hard = build_here(request(vendor, options=Options(level=5)), cache, vendor)
    assert cache.find(wanted.key) == hard
    asked = build_here(wanted, cache, vendor)
    assert cache.find(wanted.key) == asked


def test_an_engine_that_was_refuted_does_not_hide_another_one(cache: Cache, vendor: Vendor) -> None:
    wanted = request(vendor)
    cache.refute(build_here(wanted, cache, vendor), "it paints 9.1 dB from the golden pair")
    assert cache.find(wanted.key).refuted
    other = build_here(request(vendor, options=Options(level=0)), cache, vendor)
    assert cache.find(wanted.key) == other


def test_a_flipped_byte_or_a_cut_file_is_never_loaded(cache: Cache, vendor: Vendor) -> None:
    wanted = request(vendor)
    for damage in (lambda data: bytes([data[0] ^ 1]) + data[1:], lambda data: data[:-1], lambda data: b""):
        entry = build_here(wanted, cache, vendor)
        file = cache.engine_file(wanted.key)
        file.write_bytes(damage(file.read_bytes()))
        assert cache.load(entry) is None
        assert cache.find(wanted.key) is None  # gone, to be built again


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text[:-20],
        lambda text: text.replace('"sm": 89', '"sm": 86'),
        lambda text: text.replace('"driver": 13000', '"driver": "13000"'),
        lambda text: "[]",
    ],
)
def test_a_sidecar_that_was_edited_makes_its_engine_not_there(
    cache: Cache, vendor: Vendor, edit: Any
) -> None:
    wanted = request(vendor)
    build_here(wanted, cache, vendor)
    file = cache.sidecar_file(wanted.key)
    file.write_text(edit(file.read_text()))
    assert cache.find(wanted.key) is None
    assert list(cache) == []
    assert {path.suffix for path in cache.broken()} >= {".json", ".engine"}
    build_here(wanted, cache, vendor)  # and it is simply built again
    assert cache.find(wanted.key) is not None
    assert cache.broken() == []


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "engines"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(OutputError, match=r"others may write to it - chmod 700"):
        Cache(folder)


def test_the_folder_is_the_users_or_the_one_that_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ALLAPRIMA_CACHE", str(tmp_path / "mine"))
    assert engines.cache_folder() == tmp_path / "mine" / "engines"
    monkeypatch.delenv("ALLAPRIMA_CACHE")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert engines.cache_folder() == tmp_path / "allaprima" / "engines"


def test_times_of_kernels_go_on_to_the_next_build_of_this_card(cache: Cache, vendor: Vendor) -> None:
    def given() -> list[bytes]:
        return [entry[1] for entry in vendor.trt.log if entry[0] == "timing_cache"]

    build_here(request(vendor), cache, vendor)
    build_here(request(vendor, options=Options(level=5)), cache, vendor)
    assert given() == [b"", b"timed;"]
    build_here(request(vendor, options=Options(timing_cache=False)), cache, vendor)
    assert len(given()) == 2
    file = cache.timing_file(request(vendor).key)
    file.write_bytes(b"foreign")  # of another version: a new one is begun
    build_here(request(vendor, options=Options(level=4)), cache, vendor)
    assert given()[2:] == [b"foreign", b""]
    assert file.read_bytes() == b"timed;"


def test_the_next_build_knows_how_long_the_last_one_took(cache: Cache, vendor: Vendor) -> None:
    assert cache.seconds_expected(request(vendor)) is None
    cache.put(request(vendor), b"an engine", 61.0)
    other = replace(
        request(vendor), key=replace(request(vendor).key, model_sha256="another", precision="fp16")
    )
    assert cache.seconds_expected(other) == 61.0
    heard: list[Any] = []
    build_here(other, cache, vendor, heard.append)
    assert [round(one.left) for one in heard] == [61, 61]
    assert heard[-1].line == "building the engine of negative fp32: 100%, 0:00, about 1:00 left"


def test_progress_goes_through_nested_phases_and_never_back() -> None:
    progress = Progress()
    progress.start("all", None, 2)
    progress.start("clone", "all", 2)
    seen = [progress.step("clone", 0), progress.step("clone", 1)]
    progress.finish("clone")
    seen.append(progress.step("all", 0))
    progress.start("time", "all", 4)
    seen += [progress.step("time", step) for step in range(4)]
    progress.start("time", "time", 1)  # a phase around itself, which TensorRT reports
    seen += [progress.step("time", 0), progress.step("never started", 3), progress.step("all", 1)]
    assert seen == sorted(seen)
    assert seen[:3] == [0.25, 0.5, 0.5]
    assert seen[-1] == 1.0


FOUR = """
import sys, time
from pathlib import Path
sys.path[:0] = [{tests!r}]
import bundles, stand_in
from allaprima.engines import Cache, Vendor, build_here, builder
from allaprima.engines.flavour import FLAVOURS
from test_engines import request

vendor = Vendor(FLAVOURS["standard"], stand_in.tensorrt(stand_in.Bindings(), "11.4.0"))
real = vendor.trt.Builder.build_serialized_network
def slow(self, network, config):
    with open({log!r}, "a") as file:
        file.write("built\\n")
    time.sleep(0.5)
    return real(self, network, config)
vendor.trt.Builder.build_serialized_network = slow
print("ready", flush=True)
sys.stdin.readline()
cache = Cache(Path({folder!r}))
entry = build_here(request(vendor), cache, vendor)
assert cache.load(entry)
print(entry.sha256)
"""


def test_four_processes_build_one_engine_once_and_all_have_it(cache: Cache, tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = FOUR.format(tests=str(Path(__file__).parent), log=str(log), folder=str(cache.folder))
    four = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    for one in four:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    answers = [one.communicate("go\n", timeout=60) for one in four]
    assert all(one.returncode == 0 for one in four), answers
    assert len({out for out, _ in answers}) == 1
    assert log.read_text() == "built\n"
    assert {path.suffix for path in cache.folder.iterdir()} == {".engine", ".json", ".cache"}


def test_a_build_that_was_killed_leaves_nothing_in_the_way(cache: Cache, vendor: Vendor) -> None:
    wanted = request(vendor)
    with cache.building(wanted.key):
        (cache.folder / f".{wanted.key.digest}.0badcafe.part.engine").write_bytes(b"half")
        with (
            pytest.raises(RunError, match="another process has been building it") as caught,
            cache.building(wanted.key, wait_s=0.3),
        ):
            pass
        assert caught.value.code == "E_ENGINE_BUSY"
    assert [path.name[-12:] for path in cache.broken()] == [".part.engine"]
    assert build_here(wanted, cache, vendor).bytes > 0


# in a process of its own, by TensorRT-RTX itself


@pytest.mark.parametrize(("bundle", "variant"), shipped())
@pytest.mark.parametrize("sm", TARGETS)
def test_every_shipped_variant_really_compiles_for_every_card(
    cache: Cache, rtx: Vendor, bundle: Bundle, variant: Any, sm: int
) -> None:
    height, width = variant.fixed or (720, 1280)
    sides = {"height": height, "width": width, "half_height": height // 2, "half_width": width // 2}
    shapes: dict[str, Any] = {
        name: tuple(sides.get(str(side), side) for side in shape)
        for name, (shape, _) in takes(bundle, variant).items()
    }
    model = bundle.read(variant.file)
    fixed = engines.engine_request(model, shapes, precision=variant.precision, vendor=rtx, gpu=None, sm=sm)
    entry = build_here(fixed, cache, rtx)
    assert entry.bytes > 50_000
    assert cache.load(entry) is not None
    if variant.fixed is None and sm == 89:
        ranges = {name: ranged(shape) for name, shape in shapes.items()}
        wide = engines.engine_request(model, ranges, precision=variant.precision, vendor=rtx, gpu=None, sm=sm)
        assert build_here(wide, cache, rtx).key.fits(fixed.key)


@pytest.mark.parametrize(("bundle", "variant"), shipped(for_cards=False))
def test_a_variant_for_processors_is_refused_with_what_to_do_instead(
    cache: Cache, rtx: Vendor, bundle: Bundle, variant: Any
) -> None:
    shapes = {
        name: tuple(
            {"height": 64, "width": 64}.get(str(side), 32 if isinstance(side, str) else side)
            for side in shape
        )
        for name, (shape, _) in takes(bundle, variant).items()
    }
    model = bundle.read(variant.file)
    wanted = engines.engine_request(model, shapes, precision="int8", vendor=rtx, gpu=None, sm=89)
    with pytest.raises(DeviceError, match="--quantizer nncf-symmetric"):
        build_here(wanted, cache, rtx)
    assert not list(cache.folder.glob("*.engine"))


def takes(bundle: Bundle, variant: Any) -> dict[str, Any]:
    """The variant's inputs: name -> (shape, type)."""
    from allaprima.onnx_file import inspect

    return {
        name: (shape, None) for name, shape in inspect(bundle.read(variant.file), "a style").inputs.items()
    }


def ranged(shape: tuple[int, ...]) -> Any:
    if len(shape) != 4:
        return shape
    one, height, width, channels = shape
    return Range(
        least=(one, height // 8, width // 8, channels),
        best=shape,
        most=(one, height * 3 // 2, width * 3 // 2, channels),
    )


def test_a_process_of_its_own_builds_tells_and_is_not_asked_twice(cache: Cache, rtx: Vendor) -> None:
    wanted = engines.engine_request(
        bundles.frame_model(), SHAPES, precision="fp32", vendor=rtx, gpu=None, sm=89, what="negative fp32"
    )
    heard: list[Any] = []
    entry = build_apart(wanted, cache, heard.append)
    assert cache.find(wanted.key) == entry
    assert heard
    assert heard[0].what == "negative fp32"
    assert build_apart(wanted, cache) == entry


def test_four_processes_of_tensorrt_rtx_build_one_engine(cache: Cache, rtx: Vendor) -> None:
    wanted = engines.engine_request(
        bundles.frame_model(), SHAPES, precision="fp32", vendor=rtx, gpu=None, sm=120
    )
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(build_apart(wanted, cache))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({entry.built + entry.sha256 for entry in found}) == 1
    assert cache.load(found[0]) is not None


def test_what_the_parser_refuses_is_an_error_with_the_node_and_a_remedy_also_from_the_other_process(
    cache: Cache, rtx: Vendor
) -> None:
    node = onnx.helper.make_node("BitwiseNot", ["image"], ["styled"], name="turn_over")
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, [1, 40, 56, 3])
        for name in ("image", "styled")
    ]
    graph = onnx.helper.make_graph([node], "refused", values[:1], values[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    wanted = engines.engine_request(
        model.SerializeToString(), {"image": (1, 40, 56, 3)}, precision="fp32", vendor=rtx, gpu=None, sm=89
    )
    for build in (lambda: build_here(wanted, cache, rtx), lambda: build_apart(wanted, cache)):
        with pytest.raises(DeviceError, match=r"node 'turn_over' \(BitwiseNot\)") as caught:
            build()
        assert caught.value.code == "E_ENGINE_REFUSED"
        assert caught.value.next
    assert list(cache) == []


def test_a_build_ends_when_it_is_cancelled_and_the_next_one_goes_through(
    cache: Cache, rtx: Vendor, no_threads_left: None
) -> None:
    wanted = engines.engine_request(
        bundles.frame_model(), SHAPES, precision="fp32", vendor=rtx, gpu=None, sm=80
    )
    cancelled = threading.Event()
    with cache.building(wanted.key):  # so that it waits
        threading.Timer(0.4, cancelled.set).start()
        began = time.monotonic()
        with pytest.raises(RunError, match="was cancelled") as caught:
            build_apart(wanted, cache, cancelled=cancelled)
        assert time.monotonic() - began < 10
    assert caught.value.code == "E_ENGINE_CANCELLED"
    assert build_apart(wanted, cache).bytes > 0


def test_a_process_that_crashes_is_an_error_with_its_last_words(
    cache: Cache, vendor: Vendor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tensorrt.py").write_text("import os\nos.write(2, b'terminate called')\nos._exit(7)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(AllaPrimaError, match="ended with status 7 - terminate called") as caught:
        build_apart(request(vendor), cache)
    assert caught.value.code == "E_ENGINE_CRASHED"


def test_what_lies_in_the_users_folder_is_not_imported(
    cache: Cache, rtx: Vendor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("tensorrt_rtx", "numpy", "allaprima"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')\n")
    monkeypatch.chdir(tmp_path)
    wanted = engines.engine_request(
        bundles.frame_model(), SHAPES, precision="fp32", vendor=rtx, gpu=None, sm=89
    )
    assert build_apart(wanted, cache).bytes > 0


def test_a_program_without_an_interpreter_builds_in_itself(
    cache: Cache, vendor: Vendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from allaprima.engines import job

    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(job, "load_flavour", lambda word: vendor)
    monkeypatch.setattr(job.subprocess, "Popen", None)
    assert build_apart(request(vendor), cache).what == "negative fp32"


def test_the_other_process_is_told_everything(cache: Cache, vendor: Vendor) -> None:
    """The key survives its way as JSON: what is built there is what was asked for here."""
    from allaprima import settings

    key = request(vendor, options=Options(level=5, workspace_mib=64)).key
    assert settings.read(engines.Key, json.loads(json.dumps(settings.write(key))), "a test") == key
