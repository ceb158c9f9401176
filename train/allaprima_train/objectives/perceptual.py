"""`perceptual`: one style picture, or several of one style (Johnson 2016; Gram style of Gatys 2016).

    loss = content_weight * structure + style_weight * style + tv_weight * variation
         + lightness_weight * lightness + halo_weight * halo + adversarial_weight * adversarial
         + shift_weight * shift + grid_weight * grid + border_weight * border
    discriminator = ((D(style) - 1)^2 + D(painted)^2) / 2      where adversarial_weight is not 0

Deviations: content is the distance of *normalised* relu3_4 features and style a relative distance of Grams on
an image pyramid (losses.py says why); the losses see clipped pixels, but their gradient passes the clip; grid
punishes what repeats with the generator's stride. Several pictures and patches of them: style_targets.py.

What the losses see lies inside real context, as far as the generator reaches: with replicated edges instead, 500
steps were enough for it to hide the style in a band along the border. border then teaches it to paint the same
without those surroundings, as it will when it runs.

A Gram has the mean of a picture: so much blue, so many lines. A patch discriminator (Isola 2017; least squares, Mao
2017), shown squares of the style's own pictures, sees where they are, plain paper with dark lines on it instead of a
little of both everywhere (Li and Wand 2016, Markovian GANs). It takes the place of neither Grams nor content.

shift paints the same picture moved by a few pixels and asks for the same painting, moved. A network with strides
is free to paint strokes that stick to its own grid; 250 steps without this loss wove a pattern of 8 pixels
over everything that has texture, and in a video such strokes would stand still while things move.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import numpy as np
import torch
from annotated_types import Ge
from PIL import Image as Pictures
from torch import Tensor, nn

from allaprima.errors import InputError

from .. import losses
from ..data import find_pictures, prepared, readable
from ..discriminators import Patches, channels
from ..features import VGG19, Vgg19
from ..frame_model import paint, to_unit
from ..generators import Generator, make_generator
from ..losses_gan import least_squares
from ..recipe import PictureSet
from ..streams import Stream, content
from ..style_targets import Follow, StyleTargets, grams, levels, patches
from .adversarial import still
from .painting import Steadiness, as_seen, inside, steady

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["FEATURES", "Perceptual", "PerceptualSettings", "streams"]

FEATURES = VGG19

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu3_4")
CONTENT_LAYER = "relu3_4"


@dataclass(frozen=True, kw_only=True)
class PerceptualSettings(Steadiness):
    style: str | tuple[str, ...] | PictureSet
    """The style picture; or several of one style: a folder, a list of files and folders, or a table with `pictures`,
    `trim`, `grey`, `stretch` and `balance`."""
    patches: Annotated[int, Ge(0)] = 0
    """Squares drawn from each picture, which count instead of it; 0: the whole picture."""
    patch_size: Annotated[int, Ge(64)] = 256
    """Their side in pixels, at `style_size`: smaller, and each is of one thing only."""
    follow: Follow = "mean"
    """Which of several pictures or patches a painting is measured by. `mean`: their average, what the style has in
    common. `drawn`: another one by chance each time. `nearest`: the one that it is like already, so that skies are
    painted like painted skies."""
    style_size: Annotated[int, Ge(64)] = 512
    """Its short side in pixels before its strokes are learned: larger gives larger strokes."""
    pyramid: Annotated[int, Ge(1)] = 2
    """Scales at which style is compared, each half the one before: more scales, larger forms."""
    gram_of: Literal["picture", "batch"] = "picture"
    """What has to have the style's Grams. `picture`: every crop by itself, plain walls, too. `batch`: all crops of a
    step together, so that what is plain may stay plain where another one is busy."""
    content_weight: Annotated[float, Ge(0)] = 1.0
    """Raise it when things can no longer be told apart."""
    style_weight: Annotated[float, Ge(0)] = 4.0
    """Raise it when the result still looks like a photograph."""
    lightness_weight: Annotated[float, Ge(0)] = 0.0
    """Raise it to 2 where large darks turn into paper, or lights into ink: what is darker than the rest stays so."""
    halo_weight: Annotated[float, Ge(0)] = 0.0
    """Raise it to 5 against halos beside masts and smudges in skies: what is plain is painted in one colour."""
    tv_weight: Annotated[float, Ge(0)] = 0.05
    """Raise it against speckle in flat areas."""
    adversarial_weight: Annotated[float, Ge(0)] = 0.0
    """Raise it to 1 for plainer areas and stronger outlines; a trial: docs/quality.md tells what it did to `wave`."""
    discriminator_width: Annotated[int, Ge(8)] = 32
    """Channels of its first layer: less is faster, and finds less out."""


def streams(recipe: Recipe) -> dict[str, Stream]:
    return {"content": content(recipe)}


class Perceptual:
    def __init__(self, recipe: Recipe, features: Vgg19) -> None:
        self.settings: PerceptualSettings = recipe.objective
        generator = make_generator(recipe.generator.network, recipe.generator.size)
        self.networks = nn.ModuleDict({"generator": generator})
        self.players: dict[str, nn.Module] = {"generator": generator}
        self.features = features
        self.weights = {
            "structure": self.settings.content_weight,
            "style": self.settings.style_weight,
            "variation": self.settings.tv_weight,
            "lightness": self.settings.lightness_weight,
            "halo": self.settings.halo_weight,
            **self.settings.weights,
        }
        self.context = recipe.data.context
        self.together = 2 if self.settings.gram_of == "batch" else 1
        pictures = self._pictures()
        pieces = [piece for picture in pictures for piece in self._pieces(picture, recipe.seed)]
        self.works: list[Tensor] = []  # (3, H, W) uint8, for the discriminator
        self.painted: Tensor | None = None  # of this step, for the discriminator's turn
        if self.settings.adversarial_weight:
            discriminator = Patches(channels(recipe), self.settings.discriminator_width)
            self.networks["discriminator"] = self.players["discriminator"] = discriminator
            self.weights |= {"adversarial": self.settings.adversarial_weight, "discriminator": 1.0}
            self.works = [torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in pictures]
        self.targets = StyleTargets.of(
            pieces, features, STYLE_LAYERS, self.settings.pyramid, self.settings.follow
        )

    def terms(self, player: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if player == "discriminator":
            return {"discriminator": self._told_apart()}
        generator = cast(Generator, self.networks["generator"])
        given = batch["content"]
        photo = inside(given, self.context)
        whole = paint(generator, given)
        painted = as_seen(inside(whole, self.context))
        with torch.no_grad():
            wanted = self.features(photo, (CONTENT_LAYER,))[CONTENT_LAYER]
        found = levels(painted, self.features, STYLE_LAYERS, self.settings.pyramid)
        measured = grams(found, STYLE_LAYERS)
        if self.settings.gram_of == "batch":
            measured = [one.mean(0, keepdim=True) for one in measured]
        terms = {}
        if self.settings.adversarial_weight:
            self.painted, discriminator = painted.detach(), self.networks["discriminator"]
            with still(discriminator):
                terms["adversarial"] = least_squares(discriminator(painted)[-1], real=True)
        if self.settings.lightness_weight:
            terms["lightness"] = losses.lightness(painted, photo)
        if self.settings.halo_weight:
            terms["halo"] = losses.halo(painted, photo)
        return terms | {
            "structure": losses.structure(found[0][CONTENT_LAYER], wanted),
            "style": losses.style(measured, self.targets.chosen(measured)),
            "variation": losses.total_variation(painted),
            **steady(self.settings, generator, given, whole, self.context),
        }

    def _told_apart(self) -> Tensor:
        """Least squares of the discriminator: squares of the style's pictures by chance, and what was just painted."""
        assert self.painted is not None  # the generator's turn comes first
        side, squares = self.painted.shape[-1], []
        for which in torch.randint(len(self.works), (len(self.painted),)).tolist():
            work = self.works[which]
            top, left = (int(torch.randint(max(0, n - side) + 1, ())) for n in work.shape[1:])
            square = work[:, top : top + side, left : left + side]
            squares.append(square.flip(2) if torch.rand(()) < 0.5 else square)
        least = [min(one.shape[n] for one in squares) for n in (1, 2)]  # a picture may be smaller than a crop
        real = to_unit(
            torch.stack([one[:, : least[0], : least[1]] for one in squares]).to(self.painted.device)
        )
        discriminator = self.networks["discriminator"]
        right, wrong = discriminator(real)[-1], discriminator(self.painted)[-1]
        return (least_squares(right, real=True) + least_squares(wrong, real=False)) / 2

    def _pictures(self) -> list[Pictures.Image]:
        """The style's pictures, each with `style_size` as its short side. Raises InputError E_STYLE_PICTURE."""
        chosen = self.settings.style
        if not isinstance(chosen, PictureSet):
            chosen = PictureSet((chosen,) if isinstance(chosen, str) else chosen)
        if isinstance(self.settings.style, str) and not Path(self.settings.style).expanduser().is_dir():
            # one file: what is wrong with it, reading it says best
            paths = [Path(self.settings.style).expanduser()]
        else:
            paths = find_pictures(chosen.pictures, "[perceptual] style")
        try:
            found = readable(paths, "[perceptual] style")
        except InputError as error:
            raise InputError(
                "E_STYLE_PICTURE",
                f"cannot read the style picture {paths[0]}",
                error.why,
                "correct [perceptual] style in the recipe",
            ) from None
        pictures = []
        for _, read in found:
            picture = prepared(read, chosen)
            factor = self.settings.style_size / min(picture.size)
            size = (round(picture.width * factor), round(picture.height * factor))
            pictures.append(picture.resize(size))
        return pictures

    def _pieces(self, picture: Pictures.Image, seed: int) -> list[Pictures.Image]:
        """What of a picture is a target of its own: all of it, or patches."""
        if not self.settings.patches:
            return [picture]
        return patches(picture, self.settings.patches, self.settings.patch_size, seed)
