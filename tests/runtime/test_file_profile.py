"""Several frames going at once: the same paintings in the same order, errors where they belong, nothing left behind."""

from dataclasses import replace
from fractions import Fraction

import bundles
import numpy as np
import pytest
from media import CODINGS, planes

from allaprima import backends
from allaprima.bundle import Bundle
from allaprima.errors import RunError
from allaprima.frame import Frame
from allaprima.manifest import State
from allaprima.sinks import NullSink
from allaprima.sources import BarsSource
from allaprima.stream import play
from allaprima.stylizer import Stylizer


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    return Bundle.open(bundles.make_bundle(tmp_path / "negative.prima", promise=bundles.with_planes()))


class Kept(NullSink):
    """Remembers what it was given."""

    def __init__(self, most: int = 1000) -> None:
        super().__init__()
        self.kept: list[Frame] = []
        self.most = most

    def put(self, frame: Frame) -> bool:
        self.kept.append(frame)
        return len(self.kept) < self.most


class Given(BarsSource):
    """A film of the frames that it is given."""

    def __init__(self, frames: list[Frame]) -> None:
        super().__init__(64, 48, Fraction(25))
        self._given = frames

    def __iter__(self):
        return iter(self._given)


def film(count: int) -> list[Frame]:
    """Every frame another one, and every fifth in another coding."""
    found = []
    for index in range(count):
        made = planes(31, 46, CODINGS[index // 5 % 2])
        found.append(Frame(replace(made, y=made.y + np.uint8(index)), index, index / 25))
    return found


@pytest.mark.parametrize("backend", bundles.startable_backends())
def test_frames_keep_their_order_and_are_painted_as_one_by_one(bundle, backend) -> None:
    frames, sink = film(23), Kept()
    with Stylizer.open(bundle, backend=backend, precision="fp32", threads=2, profile="file") as stylizer:
        played = play(Given(frames), stylizer, sink)
        assert stylizer.report.edges == "planes"
    assert played.frames == 23
    assert [frame.index for frame in sink.kept] == list(range(23))
    for before, after in zip(frames, sink.kept, strict=True):
        assert before.planes is not None
        assert after.planes is not None
        assert np.array_equal(after.planes.stacked(), bundles.negative_planes(before.planes).stacked())


def test_pictures_go_at_once_as_well(bundle) -> None:
    images = [np.roll(bundles.ramp(31, 46), number, 0) for number in range(9)]
    sink = Kept()
    with Stylizer.open(
        bundle, backend="openvino", precision="fp32", threads=3, profile="file", size=(46, 31)
    ) as stylizer:
        assert stylizer.in_flight == 3
        assert "3 frames at once" in stylizer.report.line
        play(Given([Frame(image, index) for index, image in enumerate(images)]), stylizer, sink)
    for image, frame in zip(images, sink.kept, strict=True):
        assert np.abs(frame.image.astype(int) - bundles.painted(image)).max() <= 1


def test_live_and_a_style_with_memory_have_one_frame_going(tmp_path, bundle) -> None:
    with Stylizer.open(bundle, backend="openvino", size=(46, 31)) as stylizer:
        assert stylizer.in_flight == 1
    golden = bundles.manifest().golden
    assert golden
    promise = bundles.manifest(
        controls=(),
        states=(State(name="memory", shape=(1, "height", "width", 3)),),
        golden=replace(golden, controls={}),
    )
    path = bundles.make_bundle(tmp_path / "echo.prima", promise=promise, model=bundles.echo_model)
    with Stylizer.open(path, backend="openvino", size=(46, 31), profile="file") as stylizer:
        assert stylizer.in_flight == 1


def test_a_viewer_that_leaves_early_leaves_nothing_running(bundle) -> None:
    sink = Kept(most=4)
    with Stylizer.open(bundle, backend="openvino", threads=2, profile="file") as stylizer:
        played = play(Given(film(20)), stylizer, sink)
        assert played.stopped
        again = Kept()
        play(Given(film(5)), stylizer, again)  # every request is free again
    assert 4 <= len(sink.kept) < 10  # it is heard some frames later
    assert len(again.kept) == 5


def test_a_backend_that_fails_on_a_frame_ends_the_run_with_its_reason(bundle, monkeypatch) -> None:
    kind, _ = backends.load("openvino")
    whole, calls = kind.submit, []

    def failing(self, inputs):
        answer = whole(self, inputs)
        calls.append(1)

        def wait():
            answer()
            raise RuntimeError("out of paint")

        return wait if len(calls) == 4 else answer

    monkeypatch.setattr(kind, "submit", failing)
    sink = Kept()
    with (
        Stylizer.open(bundle, backend="openvino", threads=2, profile="file") as stylizer,
        pytest.raises(RunError, match="out of paint") as caught,
    ):
        play(Given(film(5)), stylizer, sink)
    assert caught.value.code == "E_BACKEND_RUN"
    assert len(sink.kept) < 5
