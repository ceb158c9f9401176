"""Every backend of the table runs the same graph to the same bytes, and a choice is never silent."""

import builtins
import os
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import bundles
import numpy as np
import psutil
import pytest

from allaprima import backends
from allaprima.backends import BACKENDS, Entry, load, start
from allaprima.bundle import Bundle
from allaprima.errors import DeviceError, UsageError

EVERY_BACKEND = bundles.startable_backends()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    promise = bundles.manifest(variants=(bundles.variant("fp32"), bundles.variant("fp16")))
    return Bundle.open(bundles.make_bundle(tmp_path_factory.mktemp("b") / "negative.prima", promise=promise))


def sample(height: int = 40, width: int = 56, strength: float = 1.0) -> dict[str, np.ndarray]:
    return {"image": bundles.ramp(height, width)[None], "strength": np.full(1, strength, np.float32)}


def fake_onnxruntime(monkeypatch, providers, preload=lambda: None, driver=13000, graphs=True) -> list[dict]:
    """onnxruntime as on a machine with a card and `providers`, for what needs none: the work is the processor's.

    Gives back the list in which the settings of each session will be. Bound memory is bound for real, to the
    processor's. What CUDA really computes is not tested here.
    """
    real = pytest.importorskip("onnxruntime")
    module = import_module("allaprima.backends.ort")
    calls: list[dict] = []

    class Session(real.InferenceSession):
        def __init__(self, model, options, **settings):
            (self.provider, own), *_ = settings["providers"]
            if self.provider != "CPUExecutionProvider":
                calls.append({**settings, "options": options, "model": model})
                if not graphs and own.get("enable_cuda_graph") == "1":
                    raise RuntimeError(
                        "This session cannot use the graph capture feature\nand a page of trace"
                    )
            super().__init__(model, providers=["CPUExecutionProvider"])

        def get_providers(self):
            return [self.provider]

    fake = SimpleNamespace(
        InferenceSession=Session,
        SessionOptions=real.SessionOptions,
        RunOptions=real.RunOptions,
        OrtValue=real.OrtValue,
        ExecutionMode=real.ExecutionMode,
        __version__=real.__version__,
        get_available_providers=lambda: providers,
        preload_dlls=preload,
        set_default_logger_severity=lambda severity: None,
    )
    monkeypatch.setattr(module, "_onnxruntime", lambda: fake)
    monkeypatch.setattr(module, "driver_version", lambda: driver)
    on_the_processor = {name: replace(card, memory="cpu") for name, card in module.CARDS.items()}
    monkeypatch.setattr(module, "CARDS", on_the_processor)
    monkeypatch.setattr(backends, "gpu_expected", lambda: True)
    return calls


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_every_backend_and_precision_paints_what_numpy_paints(bundle, name):
    kind, device = load(name)
    for precision in set(kind.precisions(device)) - {"int8"}:  # the bundle has no int8
        started = start(bundle, sample(), name=name, precision=precision)
        found = started.backend.run(sample(strength=0.6))["styled"][0].astype(int)
        started.backend.close()
        # one step in fp32; in 8 or 11 bits of mantissa the mean of nine pixels loses its last bits
        assert np.abs(found - bundles.painted(bundles.ramp(40, 56), 0.6)).max() <= (
            1 if precision == "fp32" else 3
        )
        assert started.backend.precision == precision
        assert precision in started.line


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_answers_belong_to_the_caller_and_inputs_stay_as_they_are(bundle, name):
    backend = start(bundle, sample(), name=name).backend
    inputs = sample()
    first = backend.run(inputs)["styled"]
    kept = first.copy()
    backend.run({**inputs, "image": 255 - inputs["image"]})
    assert np.array_equal(first, kept)
    assert np.array_equal(inputs["image"], sample()["image"])
    backend.close()


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_threads_are_as_many_as_asked(bundle, name):
    line = start(bundle, sample(), name=name, threads=1).line
    assert "1 threads" in line or "CPU" not in line  # a GPU has its own


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_device_that_is_not_there_is_refused_with_those_that_are(bundle, name):
    with pytest.raises(DeviceError, match=r"choose one of .*(cpu|rtx)") as caught:
        start(bundle, sample(), name=f"{name}:npu9000")
    assert caught.value.code == "E_BACKEND_UNAVAILABLE"


def test_ort_takes_a_provider_by_its_short_or_whole_name(bundle):
    pytest.importorskip("onnxruntime")
    for device in ("cpu", "CPU", "CPUExecutionProvider"):
        assert "(CPU," in start(bundle, sample(), name=f"ort:{device}").line


def test_sizes_are_built_in_and_another_one_is_refused_rather_than_computed_slowly(bundle):
    pytest.importorskip("onnxruntime")
    backend = start(bundle, sample(40, 56), name="ort").backend
    with pytest.raises(Exception, match=r"(?i)dimension"):
        backend.run(sample(41, 56))


@pytest.mark.parametrize("expected", [True, False])
def test_no_name_takes_the_best_that_starts_and_tells_of_gpus_only_those_whom_they_concern(
    bundle, monkeypatch, expected
):
    monkeypatch.setattr(backends, "gpu_expected", lambda: expected)
    started = start(bundle, sample())
    assert started.name == next(name for name in BACKENDS if name not in started.passed_over)
    assert started.passed_over["tensorrt"]
    assert ("passed over: tensorrt (" in started.line) == expected
    assert expected or started.passed_over["ort:cuda"] == "there is no NVIDIA card here"


def test_nothing_of_a_gpu_is_imported_where_nobody_expects_one(bundle, monkeypatch):
    pytest.importorskip("openvino")
    imported = []
    real = backends.load
    monkeypatch.setattr(backends, "load", lambda name: imported.append(name) or real(name))
    monkeypatch.setattr(backends, "gpu_expected", lambda: False)
    start(bundle, sample())
    assert imported == ["openvino"]


def test_onnxruntime_without_cuda_is_passed_over_with_this_reason(bundle, monkeypatch):
    fake_onnxruntime(monkeypatch, ["CPUExecutionProvider"])
    assert "ort:cuda (this onnxruntime has no CUDA provider)" in start(bundle, sample()).line
    with pytest.raises(DeviceError, match=r"no CUDA provider.*choose one of cpu; .*'allaprima\[gpu\]'"):
        start(bundle, sample(), name="ort:cuda")


def test_cuda_without_a_driver_is_passed_over_and_refused_when_named(bundle, monkeypatch):
    fake_onnxruntime(monkeypatch, ["CUDAExecutionProvider", "CPUExecutionProvider"], driver=None)
    assert "no driver for NVIDIA cards" in start(bundle, sample()).passed_over["ort:cuda"]
    with pytest.raises(DeviceError, match="no driver for NVIDIA cards"):
        start(bundle, sample(), name="ort:cuda")


@pytest.mark.parametrize(
    ("driver", "release", "next"),
    [
        (12040, "1.31.1", r"made for CUDA 13, the driver here for CUDA 12\.4: .*<1\.27'"),
        (13010, "1.31.1", r"made for CUDA 13, the driver here for CUDA 13\.1: .*\[cuda,cudnn\]'"),
        (13010, "1.26.0", r"made for CUDA 12, the driver here for CUDA 13\.1: .*\[cuda,cudnn\]'"),
    ],
)
def test_cuda_libraries_that_do_not_load_are_the_reason_and_nothing_is_printed(
    bundle, monkeypatch, capfd, driver, release, next
):
    words = "libcublasLt.so.13: cannot open shared object file: No such file or directory"
    fake_onnxruntime(
        monkeypatch,
        ["CUDAExecutionProvider", "CPUExecutionProvider"],
        preload=lambda: sys.stdout.write(f"Failed to load libcublasLt.so.13: {words}\nPlease follow\n"),
        driver=driver,
    )
    import_module("allaprima.backends.ort")._onnxruntime().__version__ = release
    with pytest.raises(DeviceError, match=next) as caught:
        start(bundle, sample(), name="ort:cuda")
    assert caught.value.why == words
    assert capfd.readouterr() == ("", "")


def test_cuda_that_starts_is_taken_before_any_processor_and_in_fp16(bundle, monkeypatch):
    calls = fake_onnxruntime(monkeypatch, ["CUDAExecutionProvider", "CPUExecutionProvider"])
    started = start(bundle, sample())
    assert (started.name, started.backend.precision, started.variant.name) == ("ort:cuda", "fp16", "fp16")
    assert "(CUDA, fp16)" in started.line
    start(bundle, sample(), name="ort:cuda", precision="fp32")
    (half,), (whole,) = (call["providers"] for call in calls)
    assert half[0] == whole[0] == "CUDAExecutionProvider"
    assert half[1] == {"enable_cuda_graph": "1", "arena_extend_strategy": "kSameAsRequested"}
    # fp32 is not TF32, Python's own fallback to the processor is off, and so is ONNX Runtime's
    assert whole[1] == {**half[1], "use_tf32": "0"}
    assert all(call["enable_fallback"] == 0 for call in calls)
    for call in calls:
        assert call["options"].get_session_config_entry("session.disable_cpu_ep_fallback") == "1"


def test_cards_get_models_whose_bytes_are_floats_inside_and_processors_do_not(bundle, monkeypatch):
    from allaprima.onnx_floats import floats_inside

    calls = fake_onnxruntime(monkeypatch, ["CUDAExecutionProvider", "CPUExecutionProvider"])
    start(bundle, sample(), name="ort:cuda", precision="fp32")
    assert calls[0]["model"] == floats_inside(bundle.read("model.onnx"))


@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "dml"])
def test_bound_memory_paints_what_numpy_paints_and_answers_belong_to_the_caller(
    bundle, monkeypatch, provider
):
    names = [
        "CUDAExecutionProvider",
        "TensorrtExecutionProvider",
        "DmlExecutionProvider",
        "CPUExecutionProvider",
    ]
    fake_onnxruntime(monkeypatch, names)
    monkeypatch.setattr(import_module("allaprima.backends.ort").ctypes, "CDLL", lambda name: None)
    backend = start(bundle, sample(), name=f"ort:{provider}", precision="fp32").backend
    first = backend.run(sample(strength=0.6))["styled"]
    kept = first.copy()
    second = backend.run({**sample(), "image": np.asfortranarray(255 - sample()["image"])})["styled"]
    assert np.array_equal(first, kept)
    assert np.abs(first[0].astype(int) - bundles.painted(bundles.ramp(40, 56), 0.6)).max() <= 1
    assert np.abs(second[0].astype(int) - bundles.painted(255 - bundles.ramp(40, 56))).max() <= 1
    for wrong in (np.zeros((1, 41, 56, 3), np.uint8), np.zeros((1, 40, 56, 3), np.float32)):
        with pytest.raises(ValueError, match=r"this session runs uint8 \[1, 40, 56, 3\]"):
            backend.run({**sample(), "image": wrong})
    backend.close()


def test_memory_stays_bound_to_one_place_from_run_to_run(bundle, monkeypatch):
    fake_onnxruntime(monkeypatch, ["CUDAExecutionProvider", "CPUExecutionProvider"])
    backend = start(bundle, sample(), name="ort:cuda", precision="fp32").backend
    values = [*backend._bound._inputs.values(), *backend._bound._outputs.values()]
    places = [value.data_ptr() for value in values]
    for _ in range(3):
        backend.run(sample())
    assert [value.data_ptr() for value in values] == places


def test_what_no_graph_can_hold_runs_without_one_and_says_so(bundle, monkeypatch):
    calls = fake_onnxruntime(monkeypatch, ["CUDAExecutionProvider", "CPUExecutionProvider"], graphs=False)
    started = start(bundle, sample(), name="ort:cuda", precision="fp32")
    assert [call["providers"][0][1]["enable_cuda_graph"] for call in calls] == ["1", "0"]
    assert started.backend.notes == (
        "without a CUDA graph: This session cannot use the graph capture feature",
    )


def test_tensorrt_by_onnx_runtime_keeps_its_engines_apart_by_model_size_and_precision(bundle, monkeypatch):
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    calls = fake_onnxruntime(monkeypatch, names)
    monkeypatch.setattr(import_module("allaprima.backends.ort").ctypes, "CDLL", lambda name: None)
    for size, precision in (((40, 56), "fp16"), ((40, 56), "fp32"), ((48, 56), "fp16")):
        start(bundle, sample(*size), name="ort:tensorrt", precision=precision)
    folders = {call["providers"][0][1]["trt_engine_cache_path"] for call in calls}
    assert len(folders) == 3
    assert [call["providers"][0][1]["trt_fp16_enable"] for call in calls] == ["1", "0", "1"]
    assert [name for name, _ in calls[0]["providers"]] == names[
        :2
    ]  # what it leaves is CUDA's, not the processor's


def test_tensorrt_by_onnx_runtime_wants_tensorrt_10_and_says_so(bundle, monkeypatch):
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    fake_onnxruntime(monkeypatch, names)
    with pytest.raises(
        DeviceError, match=r"made for TensorRT 10: libnvinfer.*pip install 'tensorrt>=10,<11'"
    ):
        start(bundle, sample(), name="ort:tensorrt")


def test_directml_gets_what_it_asks_for(bundle, monkeypatch):
    calls = fake_onnxruntime(monkeypatch, ["DmlExecutionProvider", "CPUExecutionProvider"], driver=None)
    started = start(bundle, sample(), name="ort:dml")
    assert (started.backend.precision, "(Dml, fp16)" in started.line) == ("fp16", True)
    options = calls[0]["options"]
    assert not options.enable_mem_pattern
    assert options.execution_mode.name == "ORT_SEQUENTIAL"
    assert calls[0]["providers"] == [("DmlExecutionProvider", {})]


def test_style_without_fp16_is_painted_in_fp32_on_a_gpu(tmp_path, monkeypatch):
    fake_onnxruntime(monkeypatch, ["CUDAExecutionProvider", "CPUExecutionProvider"])
    only = Bundle.open(bundles.make_bundle(tmp_path / "negative.prima"))
    assert start(only, sample()).backend.precision == "fp32"


def test_openvino_prefers_fp16_on_a_gpu_that_computes_it(monkeypatch):
    openvino = import_module("allaprima.backends.openvino")
    monkeypatch.setattr(openvino, "_capabilities", lambda device: ["FP32", "FP16", "INT8"])
    assert next(iter(openvino.Runner.precisions("gpu.1"))) == "fp16"
    assert next(iter(openvino.Runner.precisions(None))) == "fp32"


@pytest.mark.parametrize(
    ("tool", "distribution", "expected"),
    [(None, None, False), ("/bin/x", None, True), (None, "tensorrt", True)],
)
def test_gpu_is_expected_where_there_is_one_or_software_for_one(monkeypatch, tool, distribution, expected):
    def version(name):
        if name != distribution:
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(backends.shutil, "which", lambda name: tool)
    monkeypatch.setattr(backends.Path, "exists", lambda path: False)
    monkeypatch.setattr(backends, "version", version)
    assert backends.gpu_expected() == expected


def test_bf16_is_taken_where_the_processor_has_it(bundle):
    pytest.importorskip("openvino")
    has_bf16 = "bf16" in load("openvino")[0].precisions(None)
    assert start(bundle, sample(), name="openvino").backend.precision == ("bf16" if has_bf16 else "fp32")


def test_backend_that_fails_to_start_is_passed_over_with_its_own_words(bundle, monkeypatch):
    pytest.importorskip("onnxruntime")
    kind, _ = load("ort")

    class Broken(kind):  # type: ignore[misc, valid-type]
        def __init__(self, *args, **settings):
            raise OSError("libcublasLt.so.12: cannot open shared object file\nand a page of trace")

    real = backends.import_module
    broken = type(sys)("broken")
    broken.Runner = Broken
    monkeypatch.setitem(BACKENDS, "openvino", Entry(".broken", "openvino", "cpu"))
    monkeypatch.setattr(backends, "import_module", lambda n, p: broken if n == ".broken" else real(n, p))
    started = start(bundle, sample())
    assert started.name == "ort"
    assert "openvino (libcublasLt.so.12: cannot open shared object file)" in started.line
    with pytest.raises(DeviceError, match="libcublasLt") as caught:
        start(bundle, sample(), name="openvino")
    assert isinstance(caught.value.__cause__, OSError)


def test_backend_whose_package_is_missing_names_the_pip_command(bundle, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] in ("onnxruntime", "openvino"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    from allaprima.backends import openvino

    openvino._core.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DeviceError, match=r"onnxruntime is not installed.*pip install 'allaprima\[cpu\]'"):
        start(bundle, sample(), name="ort")
    with pytest.raises(
        DeviceError, match=r"no backend starts.*openvino is not installed.*onnxruntime is not"
    ) as caught:
        start(bundle, sample())
    assert caught.value.code == "E_BACKEND_UNAVAILABLE"


def test_tensorrt_without_a_package_or_a_card_says_what_is_missing(bundle, monkeypatch):
    assert next(iter(BACKENDS)) == "tensorrt"
    with pytest.raises(DeviceError) as caught:
        start(bundle, sample(), name="tensorrt")
    assert caught.value.code == "E_BACKEND_UNAVAILABLE"
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    flavour = import_module("allaprima.engines.flavour")
    flavour._vendor.cache_clear()
    with pytest.raises(
        DeviceError,
        match=r"tensorrt is not installed, tensorrt-rtx is not.*'allaprima\[gpu\]' or .*'allaprima\[rtx\]'",
    ):
        start(bundle, sample(), name="tensorrt")


def test_unknown_backend_and_precision_get_the_nearest(bundle):
    with pytest.raises(UsageError, match="'openvin'; did you mean 'openvino'"):
        start(bundle, sample(), name="openvin")
    with pytest.raises(UsageError, match="'fp61'; did you mean 'fp16'"):
        start(bundle, sample(), precision="fp61")


def test_precision_that_a_backend_does_not_have_is_refused_and_another_backend_found(bundle, monkeypatch):
    pytest.importorskip("onnxruntime")
    with pytest.raises(DeviceError, match=r"'ort' does not run in bf16.*fp32, fp16") as caught:
        start(bundle, sample(), name="ort", precision="bf16")
    assert caught.value.code == "E_PRECISION_UNAVAILABLE"
    # another table, because what is deleted from this one would come back at its end, after the next best
    others = {name: entry for name, entry in BACKENDS.items() if name != "openvino"}
    monkeypatch.setattr(backends, "BACKENDS", others)
    with pytest.raises(DeviceError, match="no backend here runs in bf16") as caught:
        start(bundle, sample(), precision="bf16")
    assert caught.value.code == "E_PRECISION_UNAVAILABLE"


def test_precision_that_the_style_lacks_lists_its_variants(bundle):
    with pytest.raises(UsageError, match=r"no variant for int8 at 56x40.*it has fp32, fp16"):
        start(bundle, sample(), precision="int8")


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_numbers_that_overflow_are_found_at_the_start(tmp_path, name):
    poisoned = Bundle.open(bundles.make_bundle(tmp_path / "negative.prima", poison=float("nan")))
    with pytest.raises(DeviceError, match="one flat colour") as caught:
        start(poisoned, sample(), name=name)
    assert caught.value.code == "E_BACKEND_ANSWER"


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_answer_that_is_not_what_the_manifest_promises_is_found_at_the_start(tmp_path, name):
    golden = replace(bundles.manifest().golden, controls={})
    promise = bundles.manifest(controls=(), golden=golden)  # of scale 1
    path = bundles.make_bundle(tmp_path / "double.prima", promise=promise, model=bundles.double_model)
    wrong = Bundle.open(path)
    with pytest.raises(DeviceError, match="80, 112"):
        start(wrong, {"image": sample()["image"]}, name=name)


def test_variant_of_exactly_this_size_is_preferred(tmp_path):
    variants = (bundles.variant("fp32"), bundles.variant("fp32-40x56", fixed=(40, 56)))
    both = Bundle.open(
        bundles.make_bundle(tmp_path / "negative.prima", promise=bundles.manifest(variants=variants))
    )
    assert start(both, sample(), precision="fp32").variant.name == "fp32-40x56"
    assert start(both, sample(41, 56), precision="fp32").variant.name == "fp32"


def chosen(name, possible, *variants, precision=None):
    """Which variant that backend would run, and in what."""
    promise = Bundle(Path("study.prima"), bundles.manifest(variants=variants, golden=None))
    table = dict(zip(possible, possible, strict=True))
    wanted, variant = backends.choose(promise, sample(40, 56), name, table, precision, "rgb")
    return wanted, variant.name


FP32, INT8 = bundles.variant("fp32"), bundles.variant("int8", made_for=("openvino",))


def test_what_measured_faster_on_a_backend_is_taken_there_and_left_alone_elsewhere():
    assert chosen("openvino", ["fp32", "int8"], FP32, INT8) == ("int8", "int8")
    assert chosen("ort", ["int8", "fp32"], FP32, INT8) == ("fp32", "fp32")
    assert chosen("openvino:gpu", ["int8", "fp32"], FP32, INT8) == ("fp32", "fp32")
    assert chosen("ort", ["fp32", "int8"], INT8) == ("int8", "int8")  # there is nothing else
    assert chosen("ort", ["fp32", "int8"], FP32, INT8, precision="int8") == ("int8", "int8")
    assert chosen("openvino", ["fp32", "int8"], FP32, INT8, precision="fp32") == ("fp32", "fp32")


def test_of_two_in_one_precision_the_one_for_this_backend_is_taken():
    other = bundles.variant("int8-tensorrt", made_for=("tensorrt",))
    assert chosen("tensorrt", ["int8"], INT8, other, precision="int8") == ("int8", "int8-tensorrt")
    assert chosen("openvino", ["int8"], other, INT8, precision="int8") == ("int8", "int8")


def test_a_variant_made_for_other_programs_is_never_painted_with():
    bare = bundles.variant("fp32-float", edges="float", profile="float")
    assert chosen("ort", ["fp32"], bare, FP32) == ("fp32", "fp32")
    with pytest.raises(UsageError, match="no variant for fp32"):
        chosen("ort", ["fp32"], bare)


def test_two_installed_runtimes_of_one_folder_are_told(bundle, monkeypatch):
    pytest.importorskip("onnxruntime")
    from allaprima.backends import ort

    monkeypatch.setattr(ort, "version", lambda name: "1.31.1")
    notes = start(bundle, sample(), name="ort").backend.notes
    assert len(notes) == 1
    assert "onnxruntime 1.31.1 and onnxruntime-gpu 1.31.1 overwrite each other" in notes[0]

    def only_one(name):
        if name == "onnxruntime-gpu":
            raise PackageNotFoundError(name)
        return "1.31.1"

    monkeypatch.setattr(ort, "version", only_one)
    assert start(bundle, sample(), name="ort").backend.notes == ()


def test_vendors_cannot_report_home():
    code = (
        "import os, sys\n"
        "from allaprima.backends import load\n"
        "from allaprima.errors import DeviceError\n"
        "for name in ('ort', 'openvino'):\n"
        "    try: load(name)\n"
        "    except DeviceError: pass\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'], sys.modules.get('openvino_telemetry', 'not imported'))\n"
    )
    environment = {
        key: value for key, value in os.environ.items() if key not in ("ORT_DISABLE_TELEMETRY", "CI")
    }
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split(maxsplit=1)[0] == "1"
    assert done.stdout.split(maxsplit=1)[1].strip() in ("None", "not imported")


def test_tests_cannot_report_home_either():
    conftest = Path(__file__).parents[1] / "conftest.py"
    code = (
        "import os, runpy, sys\n"
        f"runpy.run_path({str(conftest)!r})\n"
        "print(os.environ.get('ORT_DISABLE_TELEMETRY'), sys.modules['openvino_telemetry'])\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["1", "None"]


def resident_mb() -> float:
    return psutil.Process().memory_info().rss / 1e6


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_memory_does_not_grow_with_frames(bundle, name):
    backend = start(bundle, sample(), name=name, threads=1).backend
    inputs = sample()
    for _ in range(500):
        backend.run(inputs)
    before = resident_mb()
    for _ in range(2000):
        backend.run(inputs)
    assert (resident_mb() - before) / 2 < 5  # a thousand frames
    backend.close()


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_memory_does_not_grow_with_new_sizes(bundle, name):
    chance = np.random.default_rng(0)

    def restart(times: int) -> None:
        for height, width in chance.integers(16, 200, (times, 2)):
            backend = start(bundle, sample(height, width), name=name, threads=1).backend
            backend.run(sample(height, width))
            backend.close()

    restart(10)
    grown: list[float] = []
    while not grown or (grown[-1] >= 15 and len(grown) < 3):  # what leaks grows every time; allocators settle
        before = resident_mb()
        restart(40)
        grown.append(resident_mb() - before)
    assert grown[-1] < 15, grown
