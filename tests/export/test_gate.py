"""The gate's two questions, on figures that are made up: is it faithful, and is it faster?"""

from dataclasses import replace

import numpy as np
import pytest
import trained

from allaprima.manifest import Parity
from allaprima_export.gate import Lap, compete, race, unfaithful
from allaprima_export.measures import banding, worst_tile
from allaprima_export.parity import TOLERANCES, Judged
from allaprima_export.scenes import gradient
from allaprima_export.sensitivity import Tried, search


def judged(precision: str = "int8", **parity: float) -> Judged:
    figures = {"psnr_db": 40.0, "ssim": 0.99, "max_difference": 9, **parity}
    return Judged(
        description="made up",
        parity=Parity(**figures, frames=3, against="torch fp32", tolerance=TOLERANCES[precision]),  # type: ignore[arg-type]
        equal=0.5,
        worst="wave.png",
        worst_tile_db=35.0,
        banding=0.0,
    )


def test_a_faithful_variant_has_nothing_against_it() -> None:
    assert unfaithful(judged(), "int8") == ""


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        (judged(psnr_db=34.9), "PSNR 34.9 dB of 35 on wave.png"),
        (judged(ssim=0.969), "SSIM 0.9690 of 0.97"),
        (replace(judged(), worst_tile_db=29.0), "a 64x64 tile of 29.0 dB, of 30"),
        (replace(judged(), banding=0.2), "20% of smooth slopes in steps"),
        (replace(judged(), grid_db=2.4), "a grid of +2.4 dB, of +2"),
        (replace(judged(), finite=False), "not finite"),
    ],
)
def test_each_fault_keeps_a_variant_out_and_is_named(figures: Judged, words: str) -> None:
    assert words in unfaithful(figures, "int8")


def test_headroom_asks_for_more_than_it_takes() -> None:
    assert unfaithful(judged(psnr_db=36), "int8", headroom_db=1) == ""
    assert "PSNR" in unfaithful(judged(psnr_db=36), "int8", headroom_db=3)


ROUNDS = 12


def lap(ours: float, theirs: float, disturbed: dict[int, tuple[float, float]] | None = None) -> Lap:
    """A race of ROUNDS rounds of constant times, but for rounds that another program disturbs by these factors."""
    factors = [(disturbed or {}).get(number, (1.0, 1.0)) for number in range(ROUNDS)]
    times = {
        "int8": [ours * factor for factor, _ in factors],
        "bf16": [theirs * factor for _, factor in factors],
        "fp32": [3 * theirs] * ROUNDS,
    }
    return compete("openvino", times, "int8")


def test_faster_is_a_tenth_and_against_the_fastest_of_the_others() -> None:
    won = lap(10, 16)
    assert won
    assert (won.against, round(won.ratio, 2), won.won) == ("bf16", 1.6, 1.0)
    assert (
        "openvino 10000.0 ms against 16000.0 in bf16: 1.60 times as fast, won 100% of 12 rounds" in won.line
    )
    assert not lap(10, 10.9)
    assert not lap(10, 9)


def test_a_disturbed_machine_neither_makes_nor_hides_a_winner() -> None:
    slow_rounds = {0: (5.0, 1.0), 1: (5.0, 1.0), 2: (1.0, 9.0)}
    assert lap(10, 16, slow_rounds)
    assert not lap(10, 10, dict.fromkeys(range(5), (1.0, 5.0)))
    # a median that moved, in a race whose rounds nobody wins
    assert not compete("ort", {"int8": [10, 10, 10, 30, 30], "fp32": [9, 9, 40, 40, 40]}, "int8")


def test_contenders_paint_in_turn_and_slow_ones_fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    class Kind:
        def __init__(self, model: bytes, sample: dict[str, object], precision: str, **_: object) -> None:
            assert sample.keys() == {"image", "strength"}
            self.precision = precision

        @staticmethod
        def precisions(device: str | None) -> dict[str, str]:
            return {"bf16": "fp32", "fp32": "fp32", "fp16": "fp16", "int8": "int8"}

        def run(self, inputs: dict[str, object]) -> None:
            order.append(self.precision)

        def close(self) -> None:
            order.append("closed")

    monkeypatch.setattr("allaprima.backends.load", lambda name: (Kind, None))
    now = iter(range(10_000))
    whole = trained.wrapped("mobile", "nano", trained.traced("mobile", "nano"))
    models = {"fp32": whole, "int8": whole}
    seconds = race("openvino", models, clock=lambda: float(next(now)))
    assert {name: len(times) for name, times in seconds.items()} == {"bf16": 5, "fp32": 5, "int8": 5}
    assert order == ["bf16", "fp32", "int8"] * 5 + ["closed"] * 3


def test_one_bad_corner_is_seen_where_the_whole_picture_hides_it() -> None:
    picture = trained.soft(200, 330)
    spoiled = picture.copy()
    spoiled[-20:, -20:] = 255 - spoiled[-20:, -20:]
    assert worst_tile(picture, picture) == 100
    error = np.square(spoiled[-64:, -64:].astype(float) - picture[-64:, -64:]).mean()
    assert worst_tile(spoiled, picture) == pytest.approx(10 * np.log10(255**2 / error))
    small = picture[:20, :30]
    assert worst_tile(255 - small, small) < 15


def test_steps_on_a_slope_are_banding_and_noise_and_texture_are_not() -> None:
    slope = gradient(120, 600)
    assert banding(slope, slope) == 0
    assert banding(slope // 8 * 8 + 4, slope) > 0.9
    grain = np.random.default_rng(0).normal(0, 3, slope.shape)
    assert banding(np.clip(slope + grain, 0, 255).astype(np.uint8), slope) < 0.01
    texture = trained.soft(120, 160)
    assert banding(texture // 32 * 32, texture) == 0  # nothing in it is smooth


LAYERS = [f"layer {number}" for number in range(12)]


def harmful(*layers: str, together: int = 0):
    """An attempt that fails as long as one of `layers` is in int8, or more than `together` of the others are."""
    asked = []

    def attempt(kept) -> Tried:
        asked.append(tuple(kept))
        bad = len(set(layers) - set(kept))
        mild = 12 - len(set(kept) | set(layers))
        faithful = not bad and (not together or mild <= together)
        return Tried(faithful, 50 - 10.0 * bad - mild)

    return attempt, asked


def test_the_search_keeps_the_layers_that_int8_spoils_and_no_other() -> None:
    attempt, asked = harmful("layer 3", "layer 7")
    assert search(LAYERS, attempt) == ("layer 3", "layer 7")
    assert len(asked) <= 2 * len(LAYERS)


def test_nothing_is_searched_where_nothing_is_spoiled() -> None:
    attempt, asked = harmful()
    assert search(LAYERS, attempt) == ()
    assert asked == [()]


def test_of_harmless_layers_only_as_many_are_kept_as_it_takes() -> None:
    attempt, _ = harmful("layer 5", together=9)
    kept = search(LAYERS, attempt)
    assert kept is not None
    assert "layer 5" in kept
    assert len(kept) == 12 - 9


def test_a_network_of_which_no_layer_can_be_in_int8_has_no_plan() -> None:
    assert search(LAYERS, lambda kept: Tried(len(kept) == len(LAYERS), float(len(kept)))) is None
