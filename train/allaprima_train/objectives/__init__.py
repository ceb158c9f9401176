"""Training methods, one page each. The loop knows none of them.

An objective owns its networks, says who is optimised in turn (`players`: a perceptual method has one, a GAN
two), and computes the named loss terms of one player on one batch. The loop multiplies each term by its weight,
sums, differentiates and steps.

Besides its settings and its objective, a page has

    FEATURES                the feature network that it looks through, in words (`features.VGG19`); empty: none
    streams(recipe)         what it trains on, by name: `streams.py`; `content` is always among them
    generator(recipe)       the network that ships, with fresh weights; only where it is not the one that
                            [generator] names
    shown(recipe, photo, n) what that network is given of a held-out photograph for the sample sheets; only where it
                            is not the photograph itself

and its objective

    together                how many pictures a loss has to see at once at least, whatever a batch is divided into; only
                            where it is more than one
    shrinks                 how many times smaller `content` is than crop and context of [data] say; only where it is
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn

from allaprima.errors import UsageError
from allaprima.frame import Image
from allaprima.settings import nearest

from ..generators import make_generator

if TYPE_CHECKING:
    from ..features import Vgg19
    from ..recipe import Recipe
    from ..streams import Stream

__all__ = [
    "OBJECTIVES",
    "Objective",
    "make_objective",
    "objective_features",
    "objective_settings",
    "objective_streams",
    "shipped_generator",
    "shown_pictures",
]


class Objective(Protocol):
    networks: nn.ModuleDict
    """Everything that a checkpoint has to hold: networks, and what else is remembered from step to step (an image
    pool, average statistics), as registered buffers of a module. `generator` is what ships."""
    players: Mapping[str, nn.Module]
    """Who takes an optimiser step in turn, in this order, and whose parameters move."""
    weights: dict[str, float]
    """The factor of each loss term."""

    def terms(self, player: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Named, unweighted losses of `player`. Pictures in `batch` are (N, 3, H, W) float RGB in [0, 1].

        Within a step every player gets the same batch. What is kept for the next player of the same step needs no
        buffer: steps are never interrupted. Names of terms differ between players.
        """


# method: (module, its settings, its objective)
OBJECTIVES = {
    "distill": (".distill", "DistillSettings", "Distill"),
    "perceptual": (".perceptual", "PerceptualSettings", "Perceptual"),
    "content": (".content", "ContentSettings", "Content"),
    "doubletail": (".doubletail", "DoubleTailSettings", "DoubleTailed"),
    "cyclegan": (".cyclegan", "CycleGanSettings", "CycleGan"),
    "cut": (".cut", "CutSettings", "Cut"),
    "stargan": (".stargan", "StarGanSettings", "StarGan"),
    "pix2pix": (".pix2pix", "Pix2PixSettings", "Pix2Pix"),
    "stylegan": (".stylegan", "StyleGanSettings", "StyleGan"),
    "fuse": (".fuse", "FuseSettings", "Fuse"),
    "restore": (".restore", "RestoreSettings", "Restore"),
    "mixture": (".mixture", "MixtureSettings", "Mixture"),
}


def objective_settings(method: str) -> type[Any]:
    """The dataclass of the method's own settings. Raises UsageError E_SETTING for an unknown method."""
    kind: type[Any] = getattr(_page(method), OBJECTIVES[method][1])
    return kind


def objective_features(method: str) -> str:
    """The feature network that the method looks through, in words; empty where there is none."""
    return str(_page(method).FEATURES)


def objective_streams(recipe: Recipe) -> Mapping[str, Stream]:
    """What the method trains on, by name. Raises InputError E_DATA_... where a set is empty or lacks pairs."""
    streams: Mapping[str, Stream] = _page(recipe.method).streams(recipe)
    return streams


def shipped_generator(recipe: Recipe) -> nn.Module:
    """The network that a run of the recipe ships, with fresh weights."""
    page = _page(recipe.method)
    if hasattr(page, "generator"):
        made: nn.Module = page.generator(recipe)
        return made
    return make_generator(recipe.generator.network, recipe.generator.size)


def shown_pictures(recipe: Recipe, photo: Image, number: int) -> Image:
    """What the generator is given of held-out photograph `number`, (H, W, 3) uint8, to show what it does:
    (pictures, H', W', 3) uint8, mostly the photograph."""
    page = _page(recipe.method)
    given: Image = page.shown(recipe, photo, number) if hasattr(page, "shown") else photo[None]
    return given


def make_objective(recipe: Recipe, features: Vgg19 | None) -> Objective:
    """`features`: the network of `objective_features`, with its weights; None where there is none.

    What networks called `discriminator...` see is varied as [augment] discriminator says, and with [culture]
    discriminator is more than the picture, where the method provides for it.
    """
    objective: Objective = getattr(_page(recipe.method), OBJECTIVES[recipe.method][2])(recipe, features)
    if recipe.augment.discriminator:
        from ..augment import Varied

        varied = Varied(recipe.augment.discriminator)
        for name, network in objective.networks.items():
            if name.startswith("discriminator"):
                network.register_forward_pre_hook(lambda _, given: (varied(given[0]), *given[1:]))
    if recipe.culture.discriminator:
        _show_maps(recipe, objective)
    return objective


def _show_maps(recipe: Recipe, objective: Objective) -> None:
    """Put the maps of culture beside the pictures of discriminators made for them. Raises UsageError where none is."""
    from ..culture.descriptors import with_maps
    from ..discriminators import channels

    made_for_it = [
        network
        for name, network in objective.networks.items()
        if name.startswith("discriminator") and getattr(network, "channels", 3) == channels(recipe)
    ]
    if not made_for_it:
        raise UsageError(
            "E_SETTING",
            f"[culture] discriminator does not go with the method {recipe.method!r}",
            "it has no discriminator of single pictures that can see more than red, green and blue",
            "take cyclegan or cut; the weights of [culture] go with any method",
        )
    for network in made_for_it:
        network.register_forward_pre_hook(lambda _, given: (with_maps(given[0]), *given[1:]))


def _page(method: str) -> ModuleType:
    if method not in OBJECTIVES:
        raise UsageError(
            "E_SETTING",
            f"there is no method {method!r}{nearest(method, OBJECTIVES)}",
            next=f"choose one of {', '.join(OBJECTIVES)}",
        )
    return import_module(OBJECTIVES[method][0], __name__)
