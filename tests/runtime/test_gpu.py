"""For a machine with a card: `pytest -m gpu`. The stand-ins' tests again, where CUDA and TensorRT are real.

Nobody has run them so far. What does not start on a machine is skipped with its reason; what starts has to paint.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import psutil
import pytest

from allaprima import Stylizer, backends
from allaprima.backends import Started, start
from allaprima.bundle import Bundle, find_style
from allaprima.check import check
from allaprima.cuda import find_gpu
from allaprima.engines import Cache
from allaprima.errors import DeviceError

pytestmark = pytest.mark.gpu

ON_CARDS = ["tensorrt:standard", "tensorrt:rtx", "ort:cuda", "ort:tensorrt"]


try:
    find_gpu()
except DeviceError as error:
    pytest.skip(error.why, allow_module_level=True)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLAPRIMA_CACHE", str(tmp_path))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open(find_style("starry"))


@pytest.fixture(params=ON_CARDS)
def name(request: pytest.FixtureRequest) -> str:
    try:
        backends.load(request.param)
    except DeviceError as error:
        pytest.skip(f"{request.param}: {error.why}")
    return str(request.param)


@pytest.fixture
def started(name: str, bundle: Bundle) -> Iterator[Started]:
    made = start(bundle, sample(), name=name)
    yield made
    made.backend.close()


def served(bundle: Bundle, name: str) -> set[str]:
    """The precisions of the variants that are for that backend."""
    return {variant.precision for variant in bundle.manifest.for_pictures if variant.serves(name)}


def sample(height: int = 360, width: int = 640, strength: float = 1.0) -> dict[str, np.ndarray]:
    return {"image": bundles.ramp(height, width)[None], "strength": np.full(1, strength, np.float32)}


def test_the_golden_pair_and_strength_zero_in_every_precision(name: str, bundle: Bundle) -> None:
    kind, device = backends.load(name)
    stored = served(bundle, name)
    for precision in (one for one, made_of in kind.precisions(device).items() if made_of in stored):
        (result,) = check(bundle, backend=name, precision=precision)
        assert result, result.line
        assert result.identity


@pytest.mark.parametrize("size", [(17, 31), (720, 1280), (1080, 1920)], ids=str)
def test_it_paints_what_the_processor_paints(name: str, bundle: Bundle, size: tuple[int, int]) -> None:
    pytest.importorskip("onnxruntime")
    reference = start(bundle, sample(*size), name="ort", precision="fp32")
    expected = reference.backend.run(sample(*size))["styled"].astype(int)
    reference.backend.close()
    limits = {"fp32": 2, "fp16": 8}
    for precision, most in ((one, limits[one]) for one in limits if one in served(bundle, name)):
        made = start(bundle, sample(*size), name=name, precision=precision)
        found = made.backend.run(sample(*size))["styled"].astype(int)
        made.backend.close()
        assert np.abs(found - expected).max() <= most, made.line


def test_the_network_is_a_cuda_graph(started: Started) -> None:
    assert not any("CUDA graph" in note for note in started.backend.notes), started.backend.notes


def test_answers_belong_to_the_caller_and_follow_their_inputs(started: Started) -> None:
    first = started.backend.run(sample())["styled"]
    kept = first.copy()
    other = started.backend.run({**sample(), "image": 255 - sample()["image"]})["styled"]
    assert np.array_equal(first, kept)
    assert not np.array_equal(first, other)
    assert np.array_equal(started.backend.run(sample())["styled"], kept)


def test_three_at_once_paint_what_one_after_the_other_paints(name: str, bundle: Bundle) -> None:
    backend: Any = start(bundle, sample(), name=name, in_flight=3).backend
    if not isinstance(backend, backends.Overlapping):
        pytest.skip("one at a time")
    inputs = [{**sample(), "image": np.roll(sample()["image"], 40 * shift, axis=2)} for shift in range(8)]
    expected = [backend.run(one)["styled"] for one in inputs]
    going, found = [], []
    for one in inputs:
        going.append(backend.submit(one))
        if len(going) == 3:
            found.append(going.pop(0)()["styled"])
    found += [answer()["styled"] for answer in going]
    backend.close()
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_memory_does_not_grow(started: Started) -> None:
    for _ in range(200):
        started.backend.run(sample())
    before = psutil.Process().memory_info().rss
    for _ in range(2000):
        started.backend.run(sample())
    assert (psutil.Process().memory_info().rss - before) / 2e6 < 5  # MB for a thousand frames


def test_an_engine_proves_itself_once_and_is_not_built_again(name: str, bundle: Bundle) -> None:
    if not name.startswith("tensorrt"):
        pytest.skip("keeps its engines itself")
    start(bundle, sample(), name=name).backend.close()
    (entry,) = Cache()
    assert entry.proof is not None
    began = time.monotonic()
    start(bundle, sample(), name=name, build=False).backend.close()
    assert time.monotonic() - began < max(5.0, entry.seconds)
    assert next(iter(Cache())) == entry


def test_an_engine_of_another_driver_or_card_is_not_loaded(name: str, bundle: Bundle) -> None:
    if name != "tensorrt:standard":
        pytest.skip("engines of TensorRT-RTX fit every driver and card of a compute capability")
    start(bundle, sample(), name=name).backend.close()
    cache = Cache()
    (entry,) = cache
    foreign = replace(entry, key=replace(entry.key, driver=entry.key.driver - 10))
    data = cache.load(entry)
    assert data is not None
    cache.remove(entry.key)
    cache.engine_file(foreign.key).write_bytes(data)
    cache._write(foreign)
    with pytest.raises(DeviceError, match="not been built yet"):
        start(bundle, sample(), name=name, build=False)


def test_while_an_engine_is_built_another_backend_paints_and_then_it_switches(bundle: Bundle) -> None:
    try:
        backends.load("tensorrt")
    except DeviceError as error:
        pytest.skip(error.why)
    image = bundles.ramp(360, 640)
    with Stylizer.open(bundle, size=(640, 360)) as stylizer:
        assert stylizer.report.backend != "tensorrt"
        slowest, until = 0.0, time.monotonic() + 600
        while stylizer.report.backend != "tensorrt":
            assert time.monotonic() < until, stylizer.report.line
            began = time.monotonic()
            stylizer.paint(image)
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 1.0
        assert "until the engine of tensorrt was there" in stylizer.report.degraded[-1]
        assert np.ptp(stylizer.paint(image)) > 50
