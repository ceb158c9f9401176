"""What a benchmark can measure as one thing: a style or bundle, a training's run folder, a peer's bare ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from allaprima.bundle import Bundle, find_style
from allaprima.cli.controls import control_values
from allaprima.frame import Image
from allaprima.stylizer import Stylizer
from allaprima_train.recipe import Recipe, parse_recipe
from allaprima_train.run import Run

__all__ = ["Paint", "Painter", "opened"]

Paint = Callable[[Image], Image]

PEER_STRIDE = 4  # fast neural style halves its picture twice


@dataclass(frozen=True)
class Painter:
    name: str
    paint: Paint
    """(H, W, 3) uint8 RGB, in and out."""
    unpainted: Paint | None
    """The same at strength 0; None where there is no such thing."""
    network: str
    parameters: int
    gmac_720p: float
    stride: int
    """The period at which it could leave a grid, in pixels."""
    recipe: Recipe | None
    """How it was trained, where that is known."""


@contextmanager
def opened(
    what: str, *, controls: Sequence[str] = (), precision: str = "fp32", threads: int = 1
) -> Iterator[Painter]:
    """`what` is a style's name, a bundle, a run folder, or a peer's `.onnx`: float32 NCHW RGB in 0..255, in
    and out (others become bundles by `allaprima import`).

    `controls` as `allaprima run --control` takes them; `precision` is a bundle's. Raises what opening raises.
    """
    path = Path(what)
    if path.suffix == ".onnx":
        yield _peer(path)
    elif Run(path).exists:
        yield _run(path, controls)
    else:
        bundle = Bundle.open(find_style(what))
        with Stylizer.open(bundle, precision=precision, threads=threads) as stylizer:
            stylizer.set(**control_values(bundle.manifest.controls, controls))
            yield _bundle(bundle, stylizer)


def _peer(path: Path) -> Painter:
    from allaprima_export.adopt import adopt, count_macs, count_parameters
    from allaprima_export.foreign import Bare, Convention, read_stranger

    span, side = "0..255", 256
    convention = Convention(
        layout="nchw", range=span, output_range=span, color="rgb", multiple_of=PEER_STRIDE
    )
    stranger = read_stranger(path)
    core, bare = adopt(stranger, convention), Bare(stranger)
    return Painter(
        name=path.name,
        paint=lambda image: bare.paint(image, convention),
        unpainted=None,
        network=path.name,
        parameters=count_parameters(core),
        gmac_720p=count_macs(core, side, side) / side**2 * 1280 * 720 / 1e9,
        stride=PEER_STRIDE,
        recipe=None,
    )


def _bundle(bundle: Bundle, stylizer: Stylizer) -> Painter:
    manifest = bundle.manifest
    lineage = manifest.lineage
    recipe = None
    if lineage.method != "imported":
        recipe = parse_recipe(bundle.read(lineage.recipe).decode(), f"{bundle.path}, {lineage.recipe}")

    def unpainted(image: Image) -> Image:
        stylizer.set(strength=0)
        try:
            return stylizer.paint(image)
        finally:
            stylizer.set(strength=1)

    return Painter(
        name=manifest.name,
        paint=stylizer.paint,
        unpainted=unpainted,
        network=lineage.network,
        parameters=lineage.parameters,
        gmac_720p=lineage.gmac_720p,
        stride=manifest.geometry.stride,
        recipe=recipe,
    )


def _run(folder: Path, controls: Sequence[str]) -> Painter:
    import torch

    from allaprima_export.core import billion_macs
    from allaprima_export.pipeline import size_name
    from allaprima_train.frame_model import FrameModel
    from allaprima_train.generators import Generator
    from allaprima_train.generators.controls import as_tensors

    run = Run(folder)
    recipe = run.recipe()
    network, _ = run.generator()
    generator = cast(Generator, network)
    model = FrameModel(generator.folded().float().eval())
    values = as_tensors(generator.controls, control_values(generator.controls, controls))

    @torch.no_grad()
    def painted(image: Image, strength: float) -> Image:
        answer: Image = model(torch.from_numpy(image[None].copy()), torch.tensor([strength]), *values)[
            0
        ].numpy()
        return answer

    return Painter(
        name=recipe.name,
        paint=lambda image: painted(image, 1.0),
        unpainted=lambda image: painted(image, 0.0),
        network=f"{recipe.generator.network}-{size_name(recipe)}",
        parameters=sum(weights.numel() for weights in model.parameters()),
        gmac_720p=billion_macs(network, 720, 1280),
        stride=generator.stride,
        recipe=recipe,
    )
