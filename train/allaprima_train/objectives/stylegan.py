"""`stylegan`: a frame generator with a style code, mapped, modulated, mixed and truncated (StyleGAN 2, Karras 2020).

    generator       adversarial_weight * softplus(-D(G(x, z))) + texture_weight * texture(G(x, c(y)), y)
                    + structure_weight * structure + contrast_weight * |VGG(G) - VGG(x)| / |VGG(x)|
                    + diversity_weight * diversity, plus steadiness
    discriminator   softplus(-D(y)) + softplus(D(G(x, z))) + r1_weight * |dD/dx|^2

x is a photograph, y a crop of one of the paintings, z a code by chance, c(y) the code of what y's paint is like
(style_codes.py), which is as likely as z. `texture` is the distance of VGG-19's Grams: a code asks for the strokes of
the crops whose code it is. An adversary alone had some hundred steps to find out that codes may differ, and found the
mean.

What in StyleGAN is a constant the convolutions begin with, is the frame here; so the code decides how to paint and not
what. In the exported graph the code and the truncation are controls: a code that wanders paints every minute of a
video differently, and nothing flickers.

As in the paper: mapping network, modulated and normalised kernels (modulated.py), style mixing, truncation towards
the mean of w kept as a running average, logistic loss with lazy R1. Not: noise inputs (they flicker), path length
regularisation (codes are held apart by `diversity` instead), growing resolutions. `structure` (losses.py) keeps
what is painted recognisable.

Its weights are a start for other trainings of the same network: `init_from`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from .. import losses
from ..discriminators import Patches
from ..features import VGG19, Vgg19
from ..frame_model import paint, to_unit
from ..generators import Generator
from ..generators.modulated import CODE, Modulated
from ..losses_gan import diversity, softplus
from ..recipe import PictureSet
from ..streams import unpaired
from ..style_codes import StyleCodes
from ..style_targets import grams
from .adversarial import Clock, gradient_penalty, still
from .painting import Steadiness, as_seen, inside, require_mobile, steady

if TYPE_CHECKING:
    from ..recipe import Recipe

__all__ = ["FEATURES", "StyleGan", "StyleGanSettings", "generator", "streams"]

FEATURES = VGG19
LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu3_4")
CONTENT_LAYER = "relu3_4"
EXAMPLES = 192  # crops of the set that say how it differs, in the first seconds

MEAN_RATE = 0.005  # of the running average of w, a step


@dataclass(frozen=True, kw_only=True)
class StyleGanSettings(Steadiness):
    style: PictureSet
    """The paintings: the more they differ, the more there is for the code to choose from."""
    adversarial_weight: Annotated[float, Ge(0)] = 1.0
    """Raise it when the result still looks like a photograph."""
    texture_weight: Annotated[float, Ge(0)] = 6.0
    """Raise it for more of the paintings' strokes, and for codes that differ in them."""
    structure_weight: Annotated[float, Ge(0)] = 2.0
    """Raise it when things can no longer be told apart."""
    contrast_weight: Annotated[float, Ge(0)] = 0.0
    """Raise it when paintings are pale: structure is blind to contrast, and a veil of one colour keeps all of it."""
    diversity_weight: Annotated[float, Ge(0)] = 1.0
    """Raise it when different codes look alike."""
    mixing: Annotated[float, Ge(0), Le(1)] = 0.5
    """Share of pictures painted with two codes, one for the first blocks and one for the others: each block then
    has to do with its own."""
    r1_weight: Annotated[float, Ge(0)] = 0.2
    """Raise it when the discriminator's loss falls to nothing and the generator's soars."""
    r1_every: Annotated[int, Ge(1)] = 16
    """Steps from one gradient penalty to the next."""
    discriminator_width: Annotated[int, Ge(8)] = 64
    """Channels of its first layer: less is faster, and finds less out."""


streams = unpaired


def generator(recipe: Recipe) -> Modulated:
    """`mobile` with modulated convolutions."""
    require_mobile(recipe, "only mobile has modulated convolutions")
    return Modulated(recipe.generator.size)


class StyleGan:
    def __init__(self, recipe: Recipe, features: Vgg19) -> None:
        self.settings: StyleGanSettings = recipe.objective
        self.context, self.features = recipe.data.context, features
        painter = generator(recipe)
        # With instance norm, unlike the paper's: without, it asks for the mean colour and contrast of its crops
        # first, and where most of these are empty silk the answer is a pale veil.
        discriminator = Patches(width=self.settings.discriminator_width)
        self.networks = nn.ModuleDict(
            {
                "generator": painter,
                "discriminator": discriminator,
                "codes": StyleCodes(CODE, LAYERS, self._examples(recipe)),
                "clock": Clock(recipe.train.accumulate),
            }
        )
        self.players = {"generator": painter, "discriminator": discriminator}
        chosen = self.settings
        self.weights = {
            "adversarial": chosen.adversarial_weight,
            "texture": chosen.texture_weight,
            "structure": chosen.structure_weight,
            "contrast": chosen.contrast_weight,
            "diversity": chosen.diversity_weight,
            "discriminator": 1.0,
            "r1": chosen.r1_weight,
            **chosen.weights,
        }
        self.painted: Tensor | None = None  # of this step, for the discriminator's turn

    def terms(self, player: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        works = inside(batch["style"], self.context)
        if player == "discriminator":
            return self._found_out(works)
        photo = batch["content"]
        painter, discriminator = cast(Generator, self.networks["generator"]), self.networks["discriminator"]
        with torch.no_grad():
            wanted = self.features(inside(photo, self.context), (CONTENT_LAYER,))[CONTENT_LAYER]
            asked = self.features(works, LAYERS)
        code, own = torch.randn(len(photo), CODE).to(photo.device), self.networks["codes"](asked)
        whole = photo.new_ones(1)  # truncation is for afterwards
        self._follow(code)
        mixed = as_seen(paint(painter, photo, controls=[self._mixed(code), whole]))
        raw = paint(painter, photo, controls=[own, whole])
        shown, likewise = inside(mixed, self.context), inside(as_seen(raw), self.context)
        self.painted = shown.detach()
        with still(discriminator):
            scores = discriminator(shown)[-1]
        found, textures = self.features(shown, (CONTENT_LAYER,)), self.features(likewise, LAYERS)
        contents = [found[CONTENT_LAYER], textures[CONTENT_LAYER]]
        terms = {
            "adversarial": softplus(scores, real=True),
            "texture": losses.style(grams([textures], LAYERS), grams([asked], LAYERS)),
            "structure": torch.stack([losses.structure(one, wanted) for one in contents]).mean(),
            "contrast": torch.stack([losses.relative(one, wanted) for one in contents]).mean(),
            "diversity": diversity(shown, likewise, code, own),
        }
        return terms | steady(self.settings, painter, photo, raw, self.context, [own, whole])

    @torch.no_grad()
    def _examples(self, recipe: Recipe) -> Iterator[dict[str, Tensor]]:
        """Features of the set's first crops, as the training cuts them."""
        crops, place = streams(recipe)["style"], next(self.features.buffers()).device
        for number in range(min(EXAMPLES, 8 * len(crops.pictures))):
            crop = to_unit(crops[number][None].to(place))
            yield self.features(inside(crop, self.context), LAYERS)

    @torch.no_grad()
    def _follow(self, code: Tensor) -> None:
        """Move the mean of w, towards which the exported graph truncates."""
        painter = cast(Modulated, self.networks["generator"])
        painter.get_buffer("mean").lerp_(painter.mapping(code).float().mean(0), MEAN_RATE)

    def _mixed(self, code: Tensor) -> Tensor:
        """(N, CODE) -> (N, blocks, CODE): in some pictures a second code holds from a block by chance on."""
        count, blocks = len(code), len(cast(Modulated, self.networks["generator"]).blocks)
        second = torch.randn(count, 1, CODE).to(code.device)
        change = torch.randint(1, blocks, (count,))
        change = torch.where(torch.rand(count) < self.settings.mixing, change, blocks)
        own = torch.arange(blocks) < change[:, None]  # (N, blocks)
        return torch.where(own[..., None].to(code.device), code[:, None], second)

    def _found_out(self, real: Tensor) -> dict[str, Tensor]:
        assert self.painted is not None  # the generator's turn comes first
        discriminator = self.networks["discriminator"]
        right, wrong = discriminator(real)[-1], discriminator(self.painted)[-1]
        terms = {"discriminator": softplus(right, real=True) + softplus(wrong, real=False)}
        if cast(Clock, self.networks["clock"]).tick() % self.settings.r1_every == 0:
            score = lambda looked_at: discriminator(looked_at)[-1].mean((1, 2, 3))  # noqa: E731 - one expression
            terms["r1"] = gradient_penalty(score, real, self.settings.r1_every)
        return terms
