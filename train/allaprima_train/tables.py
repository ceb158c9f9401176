"""The tables of a recipe that any method can use, and that do nothing unless they are filled in.

[transfer]  what to begin with and what may change      [augment]   photographs in more variety
[temporal]  losses against flicker                      [culture]   losses towards a set of works
[quality]   figures on held-out photographs: which snapshot ships, when to stop, how loss weights are steered
[search]    settings to be searched by `allaprima search`
[compress]  how fast the network has to be, for `allaprima compress`
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

__all__ = [
    "Augment",
    "Compress",
    "Culture",
    "PictureSet",
    "Quality",
    "Range",
    "Search",
    "Temporal",
    "Transfer",
]

Weight = Annotated[float, Ge(0)]
Measure = Literal[
    "psnr_db", "ssim", "structure_distance", "edge_recall", "style_distance", "flicker", "drift"
]


@dataclass(frozen=True)
class PictureSet:
    """Pictures that belong together: the paintings of a style, one domain of several, the answers of a pair."""

    pictures: tuple[str, ...]
    """Folders (searched deeply) or files. As many or as few as there are: sets need not be equally large."""
    name: str = ""
    """What users read, where there is a choice between sets."""
    short_side: Annotated[int, Ge(0)] = 0
    """Each picture's short side in pixels before crops are taken: larger shows finer strokes larger. 0: as it is."""
    trim: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Share of the picture cut away at its top, right, bottom, left: frames, marks, title strips."""
    grey: bool = False
    """Without colour: for scans whose casts vary."""
    stretch: bool = False
    """Stretch each picture's tones from black to white: for old silk and faded prints, whose grey veil is learned first
    and their strokes last."""
    balance: bool = False
    """Stretch red, green and blue of each picture by a curve each, as white balance does: for scans whose cast is not
    the painter's, where `grey` would take the colours, too."""
    zoom: tuple[float, float] = (0.8, 1.25)
    """Crops are taken at a scale drawn between these."""
    flip: bool = True
    """Mirror every second crop; switch off where left and right differ (writing)."""

    def __post_init__(self) -> None:
        top, right, bottom, left = self.trim
        if min(self.trim) < 0 or top + bottom >= 1 or left + right >= 1:
            raise ValueError(
                f"trim = {list(self.trim)} leaves nothing: shares of the picture, 0.1 is a tenth"
            )
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError(f"zoom = {list(self.zoom)}: must be 0 < lowest <= highest")


@dataclass(frozen=True)
class Transfer:
    init_from: str = ""
    """A run's folder, a bundle (or a style's name), a .safetensors or .pth file. Empty: fresh weights."""
    only_what_fits: bool = False
    """Take the tensors whose name and shape fit, and begin the others afresh; otherwise anything else is refused."""
    freeze: tuple[str, ...] = ()
    """Weights that stay as they are, by name, with * and ?: `generator.stem.*`. A pattern that fits nothing is
    refused."""
    rates: dict[str, Weight] = field(default_factory=dict)
    """Share of the learning rate for weights by name: {"generator.stem.*" = 0.1}. Of several that fit, the last
    counts."""
    adapters: Annotated[int, Ge(0)] = 0
    """Rank of low-rank adapters on the generator's convolutions; only they train then, and they fold away. 4 trains
    2.6 % of mobile-small. 0: none, everything trains."""
    adapt: tuple[str, ...] = ("*",)
    """Layers that get an adapter: `blocks.*`."""


@dataclass(frozen=True)
class Augment:
    """On top of the crops, zooms and mirroring of [data], on the device that trains, by kornia."""

    streams: tuple[str, ...] = ("content",)
    """What is varied: `content` photographs, `style` pictures, and nothing else. A `target` is varied as its `content`
    is, and so are the `pictures` of `fuse`."""
    rotation: Annotated[float, Ge(0), Le(180)] = 0.0
    """Degrees either way; what turns in from outside is the picture mirrored."""
    brightness: Annotated[float, Ge(0), Lt(1)] = 0.0
    """0.2: from 0.8 to 1.2 times as bright. The same for the next two."""
    contrast: Annotated[float, Ge(0), Lt(1)] = 0.0
    saturation: Annotated[float, Ge(0), Lt(1)] = 0.0
    hue: Annotated[float, Ge(0), Le(0.5)] = 0.0
    """In turns of the colour circle: 0.05 is 18 degrees."""
    discriminator: tuple[Literal["colour", "translation", "cutout"], ...] = ()
    """What a discriminator sees is varied in these ways, real pictures and paintings alike, and the gradient passes
    (DiffAugment, Zhao 2020): for sets of less than some hundred works, which it would learn by heart."""


@dataclass(frozen=True)
class Temporal:
    """Losses on synthetic motion, for any method; painted of half of the batch: once more for what they
    compare with, and once for each of them, with other settings of the controls at every step."""

    difference_weight: Weight = 0.0
    """The painting may change as much as the picture does (arXiv 2102.05822): a picture and the same moved, lit a
    little differently and with noise, and the squared difference between what changes in both. 10 is a start."""
    noise_weight: Weight = 0.0
    """Paint the same with and without a sensor's noise. 0.3 is a start; too much, and fine strokes are gone."""
    motion: Annotated[int, Ge(0)] = 8
    """Largest move in pixels of what the network is given, each way; at most half of the context there, so without
    [data] context there is none."""
    noise: Annotated[float, Ge(0)] = 3.0
    """Standard deviation in levels of 255: 2 is a webcam in a lit room, 5 one at night."""


@dataclass(frozen=True)
class Culture:
    """Losses towards the colour, texture and line of a set of works, for any method: docs/culture.md."""

    reference: tuple[str, ...] = ()
    """Folders or files of works. Empty: none of this."""
    side: Annotated[int, Ge(64)] = 384
    """The works' short side in pixels before crops are compared: lines and textures are counted in pixels."""
    colour_weight: Weight = 0.0
    """0.1 is a start for each of the three."""
    texture_weight: Weight = 0.0
    line_weight: Weight = 0.0
    discriminator: bool = False
    """Discriminators also see Lab, edges, stroke direction and binary patterns of each pixel."""


@dataclass(frozen=True)
class Quality:
    """Figures that decide: judge.py has the rules."""

    every: Annotated[int, Ge(0)] = 0
    """Steps between evaluations. 0: none; then the newest weights ship."""
    pictures: Annotated[int, Ge(1)] = 4
    """Held-out photographs that are painted, always the same."""
    side: Annotated[int, Ge(96)] = 256
    """Their short side in pixels."""
    style: tuple[str, ...] | PictureSet = ()
    """Pictures that `style_distance` is measured to. Empty: those that the method's setting `style` names, or of
    `stargan` each domain's own."""
    goal: Measure = "style_distance"
    """What the best snapshot is best in, among those that keep the bounds. `psnr_db` where there is a right
    answer."""
    least: dict[Measure, float] = field(default_factory=dict)
    """Floors: {edge_recall = 0.6}. A snapshot that keeps the bounds is better than any that does not."""
    most: dict[Measure, float] = field(default_factory=dict)
    """Ceilings: {structure_distance = 0.4, flicker = 1.0}."""
    steer: dict[str, Measure] = field(default_factory=dict)
    """Loss term -> the measure whose bound it serves: {structure = "structure_distance"}. While the bound is broken,
    each evaluation multiplies the term's weight by `steer_by`; once there is a tenth to spare, each divides it
    again, down to the recipe's weight."""
    steer_by: Annotated[float, Gt(1)] = 1.25
    steer_limit: Annotated[float, Gt(1)] = 8.0
    """Largest factor."""
    patience: Annotated[int, Ge(0)] = 0
    """Stop after so many evaluations without a better snapshot. 0: go on to the last step."""

    def __post_init__(self) -> None:
        loose = [measure for measure in self.steer.values() if measure not in {**self.least, **self.most}]
        if loose:
            raise ValueError(f"[quality] steer needs a bound for {', '.join(loose)} in least or most")
        if not self.every and (self.steer or self.patience or self.least or self.most):
            raise ValueError("[quality] bounds, steer and patience need evaluations: every = 200, say")


@dataclass(frozen=True)
class Range:
    """Where a setting is searched: between `low` and `high`, or among `choices`."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    """Tenfold steps count alike: for rates and weights."""
    whole: bool = False
    """Whole numbers only."""
    choices: tuple[float | int | str | bool, ...] = ()

    def __post_init__(self) -> None:
        numbers = self.low is not None and self.high is not None
        if bool(self.choices) == numbers:
            raise ValueError("needs low and high, or choices")
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"low = {self.low} must be below high = {self.high}")
        if self.log and (self.low or 0) <= 0:
            raise ValueError("log needs a low above 0")


@dataclass(frozen=True)
class Search:
    trials: Annotated[int, Ge(1)] = 20
    """How many trainings in all, also over several calls."""
    steps: Annotated[int, Ge(0)] = 0
    """Steps of each; 0: as many as [train] says."""
    space: dict[str, Range] = field(default_factory=dict)
    """What is searched: {"train.learning_rate" = {low = 1e-4, high = 3e-3, log = true}}. Any key of the recipe."""
    warmup: Annotated[int, Ge(0)] = 2
    """Evaluations that every trial may have before it can be given up."""
    minutes: Annotated[float, Ge(0)] = 0.0
    """On a cluster: a trial that takes longer fails. 0: it may take as long as it likes."""


@dataclass(frozen=True)
class Compress:
    target_ms: Annotated[float, Ge(0)] = 0.0
    """Milliseconds for one picture, network alone, on the machine that compresses. 0: no wish; with `int8` the network
    keeps its size."""
    at: str = "1280x720"
    """Width x height of the pictures."""
    on: str = "openvino"
    """The backend that it has to be that fast on."""
    precision: str = ""
    """What it has to be that fast in; empty: the backend's fastest float, or int8 where `int8` is wished for."""
    steps: Annotated[int, Ge(1)] = 600
    """Of the fine-tune towards the whole network's paintings."""
    learning_rate: Annotated[float, Gt(0)] = 5e-4
    """Peak of its rate; a fifth of it in the training for int8."""
    int8: bool = False
    """Train as many steps more in which it paints as int8 would."""

    def __post_init__(self) -> None:
        width, sign, height = self.at.partition("x")
        if not (sign and width.isdigit() and height.isdigit() and min(int(width), int(height)) >= 16):
            raise ValueError(f"[compress] at = {self.at!r}: a width and a height, as in 1280x720")
