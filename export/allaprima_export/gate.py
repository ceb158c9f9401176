"""The gate: a variant is packed only when it is faithful and, where it is for speed, faster where it is for.

Faithful: on every unseen picture, against the trained network in torch (fp32), within the precision's tolerance of PSNR
and SSIM, with no 64x64 tile far off, nothing not finite, no banding and no grid.

Faster: all contenders of a backend paint the same 1280x720 picture in turn, round by round, so that whatever else
the machine does meets all of them. A variant is faster when the median of its rounds is at most 1/1.1 of the
fastest other variant's median, and it won at least three of four rounds against it: noise may move a median, but it
does not win rounds for one side only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import onnx

from allaprima import backends
from allaprima.manifest import Control
from allaprima.threads import available

from .inside import feed
from .parity import EQUAL, Judged
from .scenes import clouds

__all__ = [
    "BANDING",
    "HEIGHT",
    "RATIO",
    "TILE_DB",
    "WIDTH",
    "WON",
    "Lap",
    "compete",
    "margin_db",
    "race",
    "unfaithful",
]

TILE_DB = {"fp16": 40.0, "int8": 30.0}
"""The least PSNR of any 64x64 tile: a face in a large picture is one. Of fp32 every byte is held to its tolerance."""
GRID_DB = 2.0
"""The most that it may add at the frequencies of the pixel shuffle, beyond what the backend's own floats add. The last
convolution of `small` in int8 adds 6.7: a lattice in every sky. bf16, which nobody has told from fp32, adds 1.7 to
`small` and 14 to `small-fine`, whose kernels for four positions are rounded apart: 53 dB from fp32, half a level."""
BANDING = 0.1
"""The most of a smooth slope that may come in visible steps; see `measures.banding`."""

RATIO, WON = 1.1, 0.75
WIDTH, HEIGHT = 1280, 720
MOST_ROUNDS, LEAST_ROUNDS, SECONDS = 21, 5, 20.0


def unfaithful(judged: Judged, precision: str, headroom_db: float = 0.0) -> str:
    """Why a variant is not what was trained, in words; empty where it is, by `headroom_db` more than it takes."""
    limit, found = judged.parity.tolerance, judged.parity
    wrong = []
    if not judged.finite:
        wrong.append("it computes numbers that are not finite")
    if found.psnr_db < limit.psnr_db + headroom_db:
        wrong.append(f"PSNR {found.psnr_db:.1f} dB of {limit.psnr_db:g} on {judged.worst}")
    if found.ssim < limit.ssim:
        wrong.append(f"SSIM {found.ssim:.4f} of {limit.ssim:g}")
    if limit.max_difference is not None and found.max_difference > limit.max_difference:
        wrong.append(f"largest difference {found.max_difference} of {limit.max_difference}")
    if judged.equal < EQUAL.get(precision, 0.0):
        wrong.append(f"{judged.equal:.2%} equal of {EQUAL[precision]:.1%}")
    if judged.worst_tile_db < TILE_DB.get(precision, 0.0) + headroom_db:
        wrong.append(f"a 64x64 tile of {judged.worst_tile_db:.1f} dB, of {TILE_DB[precision]:g}")
    if judged.banding > BANDING:
        wrong.append(f"{judged.banding:.0%} of smooth slopes in steps, of {BANDING:.0%}")
    if judged.grid_db > GRID_DB:
        wrong.append(f"a grid of {judged.grid_db:+.1f} dB, of {GRID_DB:+g}")
    return "; ".join(wrong)


def margin_db(judged: Judged, precision: str) -> float:
    """How far it is from the nearest limit that is measured in dB; negative where it is beyond."""
    return min(
        judged.parity.psnr_db - judged.parity.tolerance.psnr_db,
        judged.worst_tile_db - TILE_DB.get(precision, 0.0),
        GRID_DB - judged.grid_db,
    )


@dataclass(frozen=True)
class Lap:
    """One variant on one backend against the fastest other one there. Truthy when it is faster."""

    backend: str
    precision: str
    """What it computed in."""
    against: str
    """The precision of the fastest other variant."""
    median_ms: Mapping[str, float]
    """Of all contenders, by the precision that was computed in."""
    won: float
    """Share of rounds."""
    rounds: int

    def __bool__(self) -> bool:
        return self.ratio >= RATIO and self.won >= WON

    @property
    def ms(self) -> float:
        return self.median_ms[self.precision]

    @property
    def against_ms(self) -> float:
        return self.median_ms[self.against]

    @property
    def ratio(self) -> float:
        return self.against_ms / self.ms

    @property
    def line(self) -> str:
        return (
            f"{self.backend} {self.ms:.1f} ms against {self.against_ms:.1f} in {self.against}: "
            f"{self.ratio:.2f} times as fast, won {self.won:.0%} of {self.rounds} rounds"
        )


def race(
    backend: str,
    models: Mapping[str, onnx.ModelProto],
    controls: Sequence[Control] = (),
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds per round, by the precision that is computed in: all that `backend` has here and `models` has files for.

    `models` is by the precision of the weights, as in a bundle. Raises DeviceError where the backend does not start.
    """
    kind, device = backends.load(backend)
    inputs = feed(next(iter(models.values())), clouds(HEIGHT, WIDTH), controls)
    files = {stored: model.SerializeToString() for stored, model in models.items()}
    runners = {
        computed: kind(files[stored], inputs, precision=computed, device=device, threads=available())
        for computed, stored in kind.precisions(device).items()
        if stored in files
    }
    seconds: dict[str, list[float]] = {computed: [] for computed in runners}
    began = clock()
    for number in range(MOST_ROUNDS):
        if number >= LEAST_ROUNDS and clock() - began > SECONDS:
            break
        for computed, runner in runners.items():
            start = clock()
            runner.run(inputs)
            seconds[computed].append(clock() - start)
    for runner in runners.values():
        runner.close()
    return seconds


def compete(backend: str, seconds: Mapping[str, list[float]], precision: str) -> Lap:
    """How `precision` did in a race of two or more."""
    others = {name: times for name, times in seconds.items() if name != precision}
    fastest = min(others, key=lambda name: median(others[name]))
    ours, theirs = seconds[precision], others[fastest]
    return Lap(
        backend=backend,
        precision=precision,
        against=fastest,
        median_ms={name: median(times) * 1000 for name, times in seconds.items()},
        won=sum(one < other for one, other in zip(ours, theirs, strict=True)) / len(ours),
        rounds=len(ours),
    )
