"""Around the style: mixtures, masks, regions; and that nothing is painted that need not be."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import Bundle, make_bundle, painted, ramp
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as Pictures

from allaprima.blend import blend
from allaprima.errors import AllaPrimaError, BundleError, DeviceError, InputError, UsageError
from allaprima.frame import Frame, Image
from allaprima.masks import Moving, Network, PictureMask, _Soft, open_region
from allaprima.mix import Mixture, Share, parse_mix
from allaprima.painting import Painting
from allaprima.stylizer import Stylizer
from allaprima.temporal import Stabiliser, Still


class Flat:
    """A style of one colour, the part of a stylizer that mixtures use."""

    def __init__(self, value: int) -> None:
        self.value, self.closed, self.frames = value, False, 0
        self.controls = {"strength": 1.0}

    def paint(self, image: Image) -> Image:
        self.frames += 1
        return np.full_like(image, self.value)

    def close(self) -> None:
        self.closed = True


FLATS = {"dark": 0, "grey": 100, "light": 200}


def mixed(text: str, image: Image) -> Image:
    flats: dict[str, Any] = {name: Flat(value) for name, value in FLATS.items()}
    mixture = Mixture(parse_mix(text), flats.__getitem__)
    picture = mixture(Frame(image)).image
    mixture.close()
    assert all(flat.closed for flat in flats.values() if flat.frames)
    return picture


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("dark:0.5,light:0.5", 100),
        ("dark:1,light:3", 150),
        ("light,dark", 100),
        ("dark:0.25,grey:0.25,light:0.5", 125),
    ],
)
def test_shares_are_weights_whatever_they_add_up_to(text: str, value: int) -> None:
    assert np.abs(mixed(text, ramp(32, 48)).astype(int) - value).max() <= 2  # 255 shares, and rounding


def test_a_picture_says_where_each_style_paints(tmp_path: Path) -> None:
    mask = np.zeros((32, 48), np.uint8)
    mask[:, :24] = 255
    Pictures.fromarray(mask).save(tmp_path / "left.png")
    Pictures.fromarray(255 - mask).save(tmp_path / "right.png")
    shown = mixed(f"dark:{tmp_path}/left.png,light:{tmp_path}/right.png", ramp(32, 48))
    assert shown[:, :24].max() == 0
    assert shown[:, 24:].min() == 200
    both = mixed(
        f"grey:1,light:{tmp_path}/right.png", ramp(32, 48)
    )  # grey everywhere, light to the right beside it
    assert (both[:, :24] == 100).all()
    assert np.abs(both[:, 30:].astype(int) - 150).max() <= 1  # white is a share of 1
    some = mixed(f"dark:3,light:{tmp_path}/right.png", ramp(32, 48))
    assert np.abs(some[:, 30:].astype(int) - 50).max() <= 2


@pytest.mark.parametrize(
    "text", ["starry", "starry:1", "a:0,b:1", "a:-1,b:1", "a:nan,b:1", ":1,b:1", "a:inf,b"]
)
def test_a_mixture_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"starry:0\.7,wave:0\.3") as caught:
        parse_mix(text.replace("wave", "x"))
    assert caught.value.code == "E_MIX"


def test_a_mixture_is_read_as_it_is_written() -> None:
    assert parse_mix("starry:0.7, a/b.prima:left.png") == [
        Share("starry", 0.7),
        Share("a/b.prima", "left.png"),
    ]


def test_a_mixture_that_misses_a_style_closes_those_it_has() -> None:
    first = Flat(1)

    def open(style: str) -> Any:
        if style == "dark":
            return first
        raise UsageError("E_STYLE_UNKNOWN", f"no style {style}")

    with pytest.raises(UsageError):
        Mixture(parse_mix("dark,nowhere"), open)
    assert first.closed


def test_real_styles_mix_and_turn_together(tmp_path: Path) -> None:
    bundle = Bundle.open(make_bundle(tmp_path / "negative.prima"))
    image = ramp(32, 48)
    mixture = Mixture(
        [Share("one", 1.0), Share("two", 1.0)],
        lambda style: Stylizer.open(bundle, backend="ort", size=(48, 32)),
    )
    np.testing.assert_allclose(mixture(Frame(image)).image.astype(int), painted(image), atol=1)
    mixture.set(strength=0.0)
    np.testing.assert_array_equal(mixture(Frame(image)).image, image)
    assert mixture.controls == {"strength": 0.0}
    assert mixture.report.style == "negative+negative"
    mixture.reset()
    mixture.close()


def test_blending_by_nothing_or_all_changes_no_byte() -> None:
    below, above = ramp(32, 48), 255 - ramp(32, 48)
    assert blend(below, above, 0.0) is below
    assert blend(below, above, 1.0) is above
    half = np.zeros((32, 48), np.uint8)
    half[:16] = 255
    shown = blend(below, above, half)
    np.testing.assert_array_equal(shown[:16], above[:16])
    np.testing.assert_array_equal(shown[16:], below[16:])


# masks


def negative(frame: Frame) -> Frame:
    return Frame(255 - frame.image, frame.index, frame.time)


class Negative:
    controls: dict[str, Any] = {}  # noqa: RUF012
    report: Any = None

    def __init__(self) -> None:
        self.frames, self.resets = 0, 0

    def __call__(self, frame: Frame) -> Frame:
        self.frames += 1
        return negative(frame)

    def set(self, **values: Any) -> None: ...

    def reset(self) -> None:
        self.resets += 1

    def close(self) -> None: ...


def test_a_mask_paints_the_white_part_and_leaves_the_black_one_untouched(tmp_path: Path) -> None:
    mask = np.zeros((16, 24, 3), np.uint8)
    mask[:, 12:] = 255
    Pictures.fromarray(mask).save(tmp_path / "mask.png")
    image = ramp(64, 96)
    shown = Painting(Negative(), weights=[PictureMask(tmp_path / "mask.png")])(Frame(image)).image
    np.testing.assert_array_equal(shown[:, :44], image[:, :44])
    np.testing.assert_array_equal(shown[:, 52:], 255 - image[:, 52:])


def test_a_mask_that_is_no_picture_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_text("white")
    with pytest.raises(InputError):
        PictureMask(tmp_path / "mask.png")
    with pytest.raises(InputError):
        PictureMask(tmp_path / "nowhere.png")


def test_what_moves_is_found_and_what_stands_is_not() -> None:
    pytest.importorskip("cv2")
    random = np.random.default_rng(0)
    wall = random.integers(60, 120, (180, 320, 3), np.uint8)
    region = Moving()
    for number in range(40):
        image = np.clip(wall + random.normal(0, 2, wall.shape), 0, 255).astype(np.uint8)
        if number >= 30:
            left = 40 + 6 * (number - 30)
            image[60:120, left : left + 60] = 240
        weights = region(image)
    assert weights.shape == (180, 320)
    assert weights[90, left + 30] > 200
    assert weights[90, 290] < 20
    assert weights[20, 40] < 20


def network(
    tmp_path: Path, *, planar: bool = True, channels: int = 1, factor: float = 1.0, size: Any = None
) -> Path:
    """A segmentation network of one node: how red a pixel is."""
    shape = [1, 3, *(size or ("h", "w"))] if planar else [1, *(size or ("h", "w")), 3]
    kind = TensorProto.FLOAT if planar else TensorProto.UINT8
    kernel = np.zeros((channels, 3, 1, 1), np.float32)
    kernel[-1, 0] = factor if planar else factor / 255
    nodes = [helper.make_node("Conv", ["planes", "kernel"], ["mask"])]
    if planar:
        nodes.insert(0, helper.make_node("Identity", ["picture"], ["planes"]))
    else:
        nodes.insert(0, helper.make_node("Cast", ["picture"], ["float"], to=TensorProto.FLOAT))
        nodes.insert(1, helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]))
    graph = helper.make_graph(
        nodes,
        "red",
        [helper.make_tensor_value_info("picture", kind, shape)],
        [helper.make_tensor_value_info("mask", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path = tmp_path / "red.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def half_red(height: int = 180, width: int = 320) -> Image:
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2] = (255, 0, 0)
    return image


@pytest.mark.parametrize(
    "how", [{}, {"planar": False}, {"channels": 2}, {"size": (64, 96)}, {"planar": False, "size": (64, 96)}]
)
def test_a_network_of_ones_own_finds_the_region(tmp_path: Path, how: dict[str, Any]) -> None:
    region = open_region(str(network(tmp_path, **how)))
    weights = region(half_red())
    assert weights.shape == (180, 320)
    assert weights[90, 60] > 250
    assert weights[90, 260] < 5
    assert 20 < weights[90, 160] < 235  # feathered
    elsewhere = open_region(f"not:{tmp_path}/red.onnx")(half_red())
    np.testing.assert_array_equal(elsewhere, 255 - weights)
    larger = region(half_red(360, 640))  # a camera that changes its size
    assert larger.shape == (360, 640)


def test_a_region_that_blinks_fades() -> None:
    region = _Soft()
    found, nothing = np.full((18, 32), 255, np.uint8), np.zeros((18, 32), np.uint8)
    image = np.zeros((18, 32, 3), np.uint8)
    values = [int(region(one, image)[9, 16]) for one in (found, nothing, nothing, found)]
    assert values == [255, 207, 159, 255]


@pytest.mark.parametrize(
    ("how", "words"),
    [({"channels": 3}, "not one map"), ({"factor": 30.0}, "sigmoid")],
)
def test_a_network_that_answers_something_else_is_refused(
    tmp_path: Path, how: dict[str, Any], words: str
) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        Network(network(tmp_path, **how))(half_red())
    assert caught.value.code == "E_REGION_MODEL"


def test_files_that_are_no_region_are_told_apart(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "page.onnx").write_text("<!doctype html>")
    cases: list[tuple[str, type[AllaPrimaError]]] = [
        (f"{tmp_path}/nowhere.onnx", InputError),
        (f"{tmp_path}/empty.onnx", BundleError),
        (f"{tmp_path}/page.onnx", BundleError),
        (f"faces:{tmp_path}/nowhere.onnx", InputError),
        (f"faces:{network(tmp_path)}", BundleError),
        ("faces", UsageError),
        ("people", UsageError),
        ("not:sideways", UsageError),
    ]
    for spec, kind in cases:
        with pytest.raises(kind):
            open_region(spec)


def test_faces_are_painted_where_the_detector_sees_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The detector's model is no part of the project; a stand-in answers in its place, with its shapes."""
    cv2 = pytest.importorskip("cv2")

    class Detector:
        def setInputSize(self, size: tuple[int, int]) -> None:
            self.size = size

        def detect(self, image: np.ndarray) -> tuple[int, np.ndarray | None]:
            if image.max() == 0:
                return 1, None
            height, width = image.shape[:2]
            assert (width, height) == self.size
            rows, columns = np.nonzero(image[..., 2] > 200)  # red, in OpenCV's order
            box = [columns.min(), rows.min(), np.ptp(columns), np.ptp(rows)]
            return 1, np.array([[*box, *[0] * 11]], np.float32)

    class FaceDetectorYN:
        @staticmethod
        def create(*_: Any) -> Detector:
            return Detector()

    monkeypatch.setattr(cv2, "FaceDetectorYN", FaceDetectorYN)
    (tmp_path / "yunet.onnx").write_bytes(b"model")
    image = np.full((360, 640, 3), 30, np.uint8)
    image[100:200, 200:280] = (255, 30, 30)
    weights = open_region(f"faces:{tmp_path}/yunet.onnx")(image)
    assert weights.shape == (360, 640)
    assert weights[150, 240] > 240
    assert weights[150, 560] == 0
    assert weights[95, 240] > 100  # the forehead above the box


def test_without_opencv_regions_that_need_it_say_so_and_masks_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(DeviceError, match="find what moves"):
        open_region("moving")
    assert open_region(str(network(tmp_path)))(half_red()).shape == (180, 320)


# the order of things


def test_the_painting_of_a_still_picture_is_shown_again_with_the_new_time() -> None:
    painter = Negative()
    painting = Painting(painter, still=Still())
    image = ramp(64, 96)
    first = painting(Frame(image, 0, 0.0))
    again = painting(Frame(image.copy(), 1, 0.04))
    assert again.image is first.image
    assert (again.index, again.time) == (1, 0.04)
    assert (painter.frames, painting.skipped) == (1, 1)
    painting(Frame(255 - image, 2, 0.08))
    assert painter.frames == 2
    painting.set(strength=0.5)
    painting(Frame(255 - image, 3, 0.12))
    assert painter.frames == 3
    painting.reset()
    assert painter.resets == 1


def test_stabilising_and_following_are_one_memory() -> None:
    pytest.importorskip("cv2")
    painting = Painting(Negative(), stabiliser=Stabiliser(0.5))
    image = ramp(64, 96) // 2
    painting(Frame(image, 0, 0.0))
    followed = painting.follow(Frame(image, 1, 0.04))
    assert followed is not None
    np.testing.assert_array_equal(followed.image, 255 - image)
    assert (followed.index, followed.time) == (1, 0.04)
    bare = Painting(Negative())
    bare(Frame(image, 0, 0.0))
    assert bare.follow(Frame(image, 1, 0.04)) is None  # it has not been asked before
    bare(Frame(image, 2, 0.08))
    assert bare.follow(Frame(image, 3, 0.12)) is not None
