"""The tensorrt backend against stand-ins that compute: order of calls, both slots, graphs, errors, everything freed.

The same picture tests run on a real card by `pytest -m gpu` (test_gpu.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import pytest
import stand_in

from allaprima import Stylizer, backends, cuda, upgrade
from allaprima.backends import start
from allaprima.backends.tensorrt import Runner
from allaprima.bundle import Bundle
from allaprima.check import check
from allaprima.engines import Cache, NotBuilt, Vendor, build_here, flavour
from allaprima.errors import DeviceError, RunError
from allaprima.frame import Frame
from allaprima.stylizer import WORTH_AN_ENGINE

pytest.importorskip("onnxruntime")

VERSIONS = {"10": "10.13.3", "11": "11.4.0", "rtx": "1.7.1"}


class Machine:
    """A machine with a card and one flavour of TensorRT."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, version: str, **trt: Any) -> None:
        self.bindings = stand_in.Bindings()
        self.trt = stand_in.tensorrt(self.bindings, version, **trt)
        rtx = version.startswith("1.")
        vendor = Vendor(flavour.FLAVOURS["rtx" if rtx else "standard"], self.trt)

        def installed(wanted: flavour.Flavour) -> Vendor:
            if wanted != vendor.flavour:
                raise ModuleNotFoundError(f"No module named {wanted.module!r}", name=wanted.module)
            return vendor

        self.vendor = vendor
        self.builds: list[str] = []

        def build_apart(request, cache, on_progress=lambda now: None, cancelled=None):
            self.builds.append(request.what)
            return build_here(request, cache, vendor, on_progress)

        monkeypatch.setattr(flavour, "_vendor", installed)
        monkeypatch.setattr(cuda, "load_bindings", lambda: self.bindings)
        monkeypatch.setattr(backends, "build_apart", build_apart)
        monkeypatch.setattr(backends, "gpu_expected", lambda: True)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALLAPRIMA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


@pytest.fixture(params=list(VERSIONS))
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch, VERSIONS[request.param])


@pytest.fixture
def modern(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch, VERSIONS["11"])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    promise = bundles.manifest(variants=(bundles.variant("fp32"), bundles.variant("fp16")))
    return Bundle.open(bundles.make_bundle(tmp_path_factory.mktemp("b") / "negative.prima", promise=promise))


@pytest.fixture
def runner(machine: Machine, bundle: Bundle) -> Iterator[Any]:
    started = start(bundle, sample(), name="tensorrt", precision="fp32")
    machine.bindings.calls.clear()
    yield started.backend
    started.backend.close()
    assert machine.bindings.left == {}


def sample(height: int = 40, width: int = 56, strength: float = 1.0) -> dict[str, np.ndarray]:
    return {"image": bundles.ramp(height, width)[None], "strength": np.full(1, strength, np.float32)}


def test_every_flavour_paints_what_numpy_paints(machine: Machine, bundle: Bundle) -> None:
    for precision, off in (("fp32", 1), ("fp16", 3)):
        started = start(bundle, sample(), name="tensorrt", precision=precision)
        found = started.backend.run(sample(strength=0.6))["styled"][0].astype(int)
        assert np.abs(found - bundles.painted(bundles.ramp(40, 56), 0.6)).max() <= off
        assert f"RTX 4090, {precision}, CUDA graph" in started.line
        started.backend.close()
    assert machine.bindings.left == {}


def test_networks_are_strongly_typed_and_fp32_is_not_tf32(machine: Machine, bundle: Bundle) -> None:
    start(bundle, sample(), name="tensorrt").backend.close()
    flags = next(entry[1] for entry in machine.trt.log if entry[0] == "create_network")
    assert flags == (2 if machine.trt.__version__.startswith("10") else 0)
    assert ("clear_flag", "TF32") in machine.trt.log
    rtx = machine.vendor.flavour.word == "rtx"
    assert any(entry[0] == "compute_capability" for entry in machine.trt.log) == rtx
    assert any(entry[0] == "timing_cache" for entry in machine.trt.log) == (not rtx)


def test_a_run_is_copies_graph_copy_in_one_stream(machine: Machine, runner: Any) -> None:
    runner.run(sample())
    kinds = [call[0] for call in machine.bindings.calls]
    assert kinds == [
        "cudaMemcpyAsync",  # the picture
        "cudaMemcpyAsync",  # the strength
        "cudaGraphLaunch",
        "cudaEventRecord",
        "cudaMemcpyAsync",  # the painting
        "cudaEventRecord",
        "cudaEventSynchronize",
    ]
    copies = machine.bindings.called("cudaMemcpyAsync")
    assert [call[1:3] for call in copies] == [("up", 40 * 56 * 3), ("up", 4), ("down", 40 * 56 * 3)]
    launched_in = machine.bindings.called("cudaGraphLaunch")[0][2]
    assert {call[3] for call in copies} == {launched_in}
    computed, done = (call[1] for call in machine.bindings.called("cudaEventRecord"))
    assert machine.bindings.called("cudaEventSynchronize") == [("cudaEventSynchronize", done)]
    assert computed != done


def test_several_runs_go_at_once_in_their_own_streams_and_their_networks_take_turns(
    machine: Machine, bundle: Bundle
) -> None:
    backend: Any = start(bundle, sample(), name="tensorrt", precision="fp32", in_flight=3).backend
    assert "3 frames at once" in backend.description
    machine.bindings.calls.clear()
    given = [{**sample(), "image": np.roll(sample()["image"], shift, axis=1)} for shift in range(3)]
    waiting = [backend.submit(one) for one in given]
    with pytest.raises(RuntimeError, match="3 runs are going"):
        backend.submit(sample())
    assert machine.bindings.called("cudaEventSynchronize") == []  # nothing waited before
    for one, answer in zip(given, waiting, strict=True):
        assert np.abs(answer()["styled"][0].astype(int) - bundles.painted(one["image"][0])).max() <= 1
    streams = [call[2] for call in machine.bindings.called("cudaGraphLaunch")]
    assert len(set(streams)) == 3
    waits = [call[1:3] for call in machine.bindings.called("cudaStreamWaitEvent")][-2:]
    computed = [call[1] for call in machine.bindings.called("cudaEventRecord")][::2]
    assert waits == [
        (streams[1], computed[0]),
        (streams[2], computed[1]),
    ]  # each network waits for the one before
    backend.close()
    assert machine.bindings.left == {}


def test_what_was_begun_is_answered_after_the_end(modern: Machine, bundle: Bundle) -> None:
    backend: Any = start(bundle, sample(), name="tensorrt", precision="fp32", in_flight=2).backend
    answer = backend.submit(sample())
    backend.close()
    assert modern.bindings.left == {}
    assert np.abs(answer()["styled"][0].astype(int) - bundles.painted(bundles.ramp(40, 56))).max() <= 1


def test_graphs_are_captured_after_a_run_without_and_once_for_each_slot(
    machine: Machine, bundle: Bundle
) -> None:
    backend = start(bundle, sample(), name="tensorrt", in_flight=2).backend
    order = [
        call[0]
        for call in machine.bindings.called(
            "execute_async_v3", "cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphLaunch"
        )
    ]
    one = ["cudaStreamBeginCapture", "execute_async_v3", "cudaStreamEndCapture"]
    assert order[:8] == ["execute_async_v3"] * 2 + one * 2
    assert set(order[8:]) == {"cudaGraphLaunch"}
    backend.close()
    backend.close()  # twice is once
    assert machine.bindings.left == {}


@pytest.mark.parametrize(
    "function", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"]
)
def test_without_a_graph_it_paints_all_the_same_and_says_so(
    modern: Machine, bundle: Bundle, function: str
) -> None:
    modern.bindings.fails[function] = (stand_in.CAPTURE_INVALIDATED, 0)
    started = start(bundle, sample(), name="tensorrt", precision="fp32")
    assert "CUDA graph" not in started.line
    assert "without a CUDA graph" in started.backend.notes[0]
    found = started.backend.run(sample())["styled"][0].astype(int)
    assert np.abs(found - bundles.painted(bundles.ramp(40, 56))).max() <= 1
    started.backend.close()
    assert modern.bindings.left == {}


def test_a_network_that_cannot_be_captured_paints_all_the_same(
    modern: Machine, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Runner._enqueue

    def not_while_capturing(self: Any, slot: Any) -> None:
        modern.trt.refuses_to_run = bool(modern.bindings.capturing)
        real(self, slot)

    monkeypatch.setattr(Runner, "_enqueue", not_while_capturing)
    backend = start(bundle, sample(), name="tensorrt", precision="fp32").backend
    assert "TensorRT could not start the network" in backend.notes[0]
    assert np.ptp(backend.run(sample())["styled"]) > 0
    backend.close()


@pytest.mark.parametrize(
    "function",
    [
        "cudaMallocHost", "cudaMalloc", "cudaStreamCreateWithFlags", "cudaEventCreateWithFlags", "cudaMemcpyAsync",
        "cudaStreamWaitEvent", "cudaEventRecord", "cudaEventSynchronize",
    ],
)  # fmt: skip
def test_every_bad_status_at_the_start_is_an_error_with_the_functions_name_and_nothing_is_left(
    modern: Machine, bundle: Bundle, function: str
) -> None:
    start(bundle, sample(), name="tensorrt").backend.close()
    modern.bindings.calls.clear()
    for after in (0, 1):
        modern.bindings.calls.clear()
        modern.bindings.fails = {function: (stand_in.INVALID, after)}
        with pytest.raises(
            DeviceError, match=rf"{function} failed - invalid argument \(cudaErrorInvalidValue\)"
        ):
            start(bundle, sample(), name="tensorrt", in_flight=2)
        assert modern.bindings.left == {}


def test_memory_that_runs_out_says_how_much_is_free(modern: Machine, bundle: Bundle) -> None:
    start(bundle, sample(), name="tensorrt").backend.close()
    modern.bindings.calls.clear()
    modern.bindings.fails = {"cudaMalloc": (stand_in.NO_MEMORY, 2)}
    with pytest.raises(
        DeviceError, match=r"out of memory on the card: 100 of 8,000 MiB are free.*smaller --size"
    ):
        start(bundle, sample(), name="tensorrt")


def test_a_bad_status_while_painting_reaches_the_caller(modern: Machine, bundle: Bundle) -> None:
    with Stylizer.open(bundle, backend="tensorrt", size=(56, 40)) as stylizer:
        modern.bindings.calls.clear()
        modern.bindings.fails = {"cudaGraphLaunch": (stand_in.INVALID, 1)}
        stylizer.paint(bundles.ramp(40, 56))
        with pytest.raises(RunError, match="cudaGraphLaunch failed"):
            stylizer.paint(bundles.ramp(40, 56))
        modern.bindings.fails = {}
    assert modern.bindings.left == {}


@pytest.mark.parametrize("wrong", [np.zeros((1, 40, 57, 3), np.uint8), np.zeros((1, 40, 56, 3), np.float32)])
def test_inputs_of_another_shape_or_type_are_refused_rather_than_stretched(
    modern: Machine, bundle: Bundle, wrong: np.ndarray
) -> None:
    backend = start(bundle, sample(), name="tensorrt").backend
    with pytest.raises(ValueError, match=r"'image' is .*; this engine runs uint8 \[1, 40, 56, 3\]"):
        backend.run({**sample(), "image": wrong})
    assert np.ptp(backend.run(sample())["styled"]) > 0  # and the next one runs
    backend.close()


def test_memory_from_frame_to_frame_goes_through_the_card(modern: Machine, tmp_path: Path) -> None:
    from allaprima.manifest import State

    golden = replace(bundles.manifest().golden, controls={}, tolerances={})
    state = State(name="memory", shape=(1, "height", "width", 3))
    promise = bundles.manifest(controls=(), golden=golden, states=(state,))
    path = bundles.make_bundle(tmp_path / "echo.prima", promise=promise, model=bundles.echo_model)
    image = bundles.ramp(40, 56)
    with Stylizer.open(path, backend="tensorrt", precision="fp32", size=(56, 40)) as stylizer:
        first, second = stylizer.paint(image), stylizer.paint(255 - image)
    assert np.abs(first.astype(int) - image // 2).max() <= 1
    assert np.abs(second.astype(int) - 127).max() <= 1


def test_planes_go_through_the_card_and_are_compared_with_another_backend(
    modern: Machine, tmp_path: Path
) -> None:
    path = bundles.make_bundle(tmp_path / "planes.prima", promise=bundles.with_planes())
    planes = bundles.Planes.from_rgb(bundles.ramp(40, 56))
    with Stylizer.open(
        path, backend="tensorrt", precision="fp32", size=(56, 40), coding=planes.coding
    ) as stylizer:
        painted = stylizer(Frame(picture=planes, index=0, time=0.0)).planes
    assert painted is not None
    expected = bundles.negative_planes(planes)
    for name in ("y", "u", "v"):
        assert np.abs(getattr(painted, name).astype(int) - getattr(expected, name)).max() <= 1
    (entry,) = Cache()
    assert entry.proof is not None
    assert entry.proof.against == "another backend"
    assert list(entry.key.shapes) == ["y", "u", "v", "strength"]


def test_a_named_backend_builds_what_it_lacks_and_tells_how_far_it_is(
    modern: Machine, bundle: Bundle
) -> None:
    heard: list[Any] = []
    start(bundle, sample(), name="tensorrt", precision="fp16", on_build=heard.append).backend.close()
    assert modern.builds == ["negative fp16"]
    assert [one.done for one in heard] == [0.5, 1.0]
    assert heard[0].line.startswith("building the engine of negative fp16: 50%, 0:00")
    start(bundle, sample(), name="tensorrt", precision="fp16").backend.close()
    assert modern.builds == ["negative fp16"]  # it was there


def test_a_build_that_is_not_wanted_is_an_error_that_names_the_command(
    modern: Machine, bundle: Bundle
) -> None:
    with pytest.raises(
        NotBuilt, match=r"no engine for negative fp16 at 56x40.*allaprima engines build"
    ) as caught:
        start(bundle, sample(), name="tensorrt", build=False)
    assert caught.value.code == "E_ENGINE_MISSING"
    results = check(bundle)  # doctor's way: nothing is built behind anybody's back
    assert "not been built yet" in next(one.line for one in results if one.backend == "tensorrt")
    assert modern.builds == []


def test_an_engine_counts_only_after_the_golden_pair(modern: Machine, bundle: Bundle) -> None:
    start(bundle, sample(), name="tensorrt").backend.close()
    (entry,) = Cache()
    assert entry.proof is not None
    assert (entry.proof.against, entry.proof.on[:24]) == ("the golden pair", "NVIDIA GeForce RTX 4090 ")
    assert entry.proof.psnr_db > 40


@pytest.mark.parametrize("size", [(48, 64), (40, 56), (96, 160)], ids=str)
def test_an_engine_that_paints_something_else_is_refused_for_good_at_every_size(
    monkeypatch: pytest.MonkeyPatch, bundle: Bundle, size: tuple[int, int], own_cache: Path
) -> None:
    machine = Machine(monkeypatch, VERSIONS["11"], spoil=40)
    with pytest.raises(DeviceError, match=r"paints \d+\.\d dB from the golden pair in fp16") as caught:
        start(bundle, sample(*size), name="tensorrt")
    assert caught.value.code == "E_ENGINE_REFUTED"
    assert list(own_cache.glob("*.engine")) == []
    with pytest.raises(DeviceError, match=r"dB from the golden pair.*engines build --rebuild"):
        start(bundle, sample(*size), name="tensorrt")  # and not built again and again
    assert machine.builds == ["negative fp16"]
    assert machine.bindings.left == {}


def test_a_network_that_looks_at_the_whole_picture_is_compared_with_another_backend(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    promise = bundles.manifest(geometry=replace(bundles.manifest().geometry, whole=True))
    whole = Bundle.open(bundles.make_bundle(tmp_path / "negative.prima", promise=promise))
    Machine(monkeypatch, VERSIONS["11"])
    start(whole, sample(40, 72), name="tensorrt", precision="fp32").backend.close()
    (entry,) = Cache()
    assert entry.proof is not None
    assert entry.proof.against == "another backend"
    monkeypatch.setattr(backends, "_elsewhere", lambda *anything: None)
    started = start(whole, sample(40, 80), name="tensorrt", precision="fp32")
    assert "was not compared with anything" in started.backend.notes[-1]
    started.backend.close()


def test_what_tensorrt_does_not_load_is_removed_and_built_again(modern: Machine, bundle: Bundle) -> None:
    start(bundle, sample(), name="tensorrt").backend.close()
    modern.trt.refuses_to_load = "Platform specific tag mismatch"
    with pytest.raises(NotBuilt, match="does not load the one that is there: Platform specific tag mismatch"):
        start(bundle, sample(), name="tensorrt")  # the new one neither: an error, and no end of building
    assert modern.builds == ["negative fp16"] * 2
    modern.trt.refuses_to_load = "CUDA error 2: out of memory"
    with pytest.raises(DeviceError, match="out of memory"):
        start(bundle, sample(), name="tensorrt")
    assert len(list(Cache())) == 1  # that says nothing against the engine


def test_words_of_a_failed_build_are_the_reason(modern: Machine, bundle: Bundle) -> None:
    modern.trt.refuses_to_build = "Could not find any implementation for node conv_3"
    with pytest.raises(
        DeviceError, match="cannot build an engine for negative fp16 - Could not find any"
    ) as caught:
        start(bundle, sample(), name="tensorrt")
    assert caught.value.code == "E_ENGINE_BUILD"


def test_rtx_keeps_what_it_compiled_for_the_card(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    machine = Machine(monkeypatch, VERSIONS["rtx"])
    for _ in range(2):
        start(bundle, sample(), name="tensorrt:rtx", precision="fp32").backend.close()
    assert [entry for entry in machine.trt.log if entry[0] == "runtime cache"] == [
        ("runtime cache", b"compiled for this card")
    ]


def test_a_proof_is_of_one_card_and_driver(monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    machine = Machine(monkeypatch, VERSIONS["rtx"])
    start(bundle, sample(), name="tensorrt", precision="fp32").backend.close()
    machine.bindings.name = "NVIDIA GeForce RTX 4070"
    start(bundle, sample(), name="tensorrt", precision="fp32").backend.close()
    (entry,) = Cache()  # one engine for both, proven on the one that is here
    assert machine.builds == ["negative fp32"]
    assert entry.proof is not None
    assert "RTX 4070" in entry.proof.on


def test_a_flavour_that_is_not_installed_is_an_error_and_one_that_is_not_known_another(
    modern: Machine, bundle: Bundle
) -> None:
    with pytest.raises(DeviceError, match=r"tensorrt-rtx is not installed - pip install 'allaprima\[rtx\]'"):
        start(bundle, sample(), name="tensorrt:rtx")
    with pytest.raises(DeviceError, match="no flavour npu9000 of TensorRT - choose one of standard, rtx"):
        start(bundle, sample(), name="tensorrt:npu9000")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"driver": 0}, "no driver for NVIDIA cards"),
        ({"cards": 0}, "the driver finds no card"),
        (
            {"fails": {"cudaGetDeviceCount": (stand_in.OLD_DRIVER, 0)}},
            r"the driver is for CUDA 13\.0, cuda-bindings",
        ),
    ],
)
def test_without_a_card_the_reason_is_told(
    modern: Machine, bundle: Bundle, change: dict[str, Any], reason: str
) -> None:
    for name, value in change.items():
        setattr(modern.bindings, name, value)
    with pytest.raises(DeviceError, match=reason):
        start(bundle, sample(), name="tensorrt")
    assert start(bundle, sample()).passed_over["tensorrt"]


def test_a_folder_that_others_may_write_to_is_a_reason_to_take_another_backend(
    modern: Machine, bundle: Bundle, own_cache: Path
) -> None:
    own_cache.mkdir(parents=True)
    own_cache.chmod(0o777)
    assert start(bundle, sample()).passed_over["tensorrt"] == "others may write to it"
    with pytest.raises(DeviceError, match="chmod 700") as caught:
        start(bundle, sample(), name="tensorrt")
    assert caught.value.code == "E_CACHE_UNSAFE"


def test_the_runner_alone_never_builds(modern: Machine, bundle: Bundle) -> None:
    model = bundle.read("model.onnx")
    with pytest.raises(NotBuilt):
        Runner(model, sample(), precision="fp32", device=None, threads=1)


def test_while_an_engine_is_built_another_backend_paints_and_then_it_switches_between_frames(
    modern: Machine, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, no_threads_left: None
) -> None:
    may_build = threading.Event()

    def slow(request, cache, on_progress, cancelled):
        on_progress(upgrade.Building(request.what, 0.4, "timing", 12.0, 18.0))
        assert may_build.wait(10)
        return build_here(request, cache, modern.vendor, on_progress)

    monkeypatch.setattr(upgrade, "build_apart", slow)
    image = bundles.ramp(40, 56)
    with Stylizer.open(bundle, size=(56, 40)) as stylizer:
        first = stylizer.report
        assert first.backend != "tensorrt"
        for _ in range(WORTH_AN_ENGINE + 1):  # one picture is worth no engine
            assert "it has not been built yet" in stylizer.report.line
            stylizer.paint(image)
        wait_for(lambda: "40%, 0:12, about 0:18 left" in stylizer.report.line)
        painted = [stylizer.paint(image) for _ in range(3)]
        assert stylizer.report.backend == first.backend
        may_build.set()
        wait_for(lambda: (painted.append(stylizer.paint(image)), stylizer.report.backend == "tensorrt")[1])
        report = stylizer.report
        assert report.passed_over == {}
        assert (
            f"painted the first {WORTH_AN_ENGINE + len(painted)} frames, until the engine of tensorrt"
            in report.degraded[-1]
        )
        for one in painted:  # before and after: the same painting
            assert np.abs(one.astype(int) - bundles.painted(image)).max() <= 3
        # another size: again no pause, and again another backend first
        may_build.clear()
        stylizer.paint(bundles.ramp(64, 56))
        assert stylizer.report.backend != "tensorrt"
        may_build.set()
    assert modern.bindings.left == {}


def test_the_switch_keeps_the_order_where_several_frames_go_at_once(
    modern: Machine, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, no_threads_left: None
) -> None:
    pytest.importorskip("openvino")
    may_build = threading.Event()

    def slow(request, cache, on_progress, cancelled):
        assert may_build.wait(10)
        return build_here(request, cache, modern.vendor, on_progress)

    monkeypatch.setattr(upgrade, "build_apart", slow)
    image = bundles.ramp(40, 56)
    with Stylizer.open(bundle, size=(56, 40), threads=2, profile="file") as stylizer:
        assert stylizer.in_flight == 2
        going, found = [], []
        until = time.monotonic() + 20
        while stylizer.report.backend != "tensorrt" or len(found) < 40:
            assert time.monotonic() < until, stylizer.report.line
            number = len(found) + len(going)
            if number == 20:
                may_build.set()
            going.append(stylizer.submit(Frame(np.roll(image, number % 7, axis=1), number, number / 25)))
            if len(going) == 2:
                found.append(going.pop(0)())
        found += [answer() for answer in going]
    assert [frame.index for frame in found] == list(range(len(found)))
    for frame in found:
        expected = bundles.painted(np.roll(image, frame.index % 7, axis=1))
        assert np.abs(frame.image.astype(int) - expected).max() <= 3
    assert modern.bindings.left == {}


def test_a_build_that_fails_is_the_reason_in_the_report_and_painting_goes_on(
    modern: Machine, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, no_threads_left: None
) -> None:
    def refused(request, cache, on_progress, cancelled):
        raise DeviceError("E_ENGINE_REFUSED", "x", "node 'pad_1' (Pad): unsupported", "y")

    monkeypatch.setattr(upgrade, "build_apart", refused)
    with Stylizer.open(bundle, size=(56, 40)) as stylizer:
        for _ in range(WORTH_AN_ENGINE + 1):
            stylizer.paint(bundles.ramp(40, 56))
        wait_for(lambda: "node 'pad_1' (Pad)" in stylizer.report.line)
        stylizer.paint(bundles.ramp(40, 56))
        assert "node 'pad_1' (Pad)" in stylizer.report.passed_over["tensorrt"]


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)
