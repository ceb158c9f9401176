"""Fewer channels and blocks of a trained mobile generator: the least important ones go, the rest keep their weights.

A channel counts as much as what leaves it: its mean activation on photographs, times the norm of the kernels that read
it, summed over all who read it (in the spirit of Molchanov 2017). A block counts as much as what it adds to what
passes it. What is left paints somewhat wrong, and a short fine-tune towards the whole network's paintings
(`method = "distill"`) mends most of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from allaprima.errors import UsageError
from allaprima.frame import Image

from .frame_model import paint, to_unit
from .generators.branched import BranchedConv, FoldingConv, SmoothUp, TwoLevels
from .generators.mobile import Block, Mobile, Size

__all__ = ["prune", "size_of"]


def size_of(network: nn.Module) -> Size:
    """The size of a mobile generator. Raises UsageError E_SETTING for other networks."""
    if type(network) is not Mobile:
        raise UsageError(
            "E_SETTING",
            f"a {type(network).__name__} generator cannot be pruned",
            "only `mobile` knows which of its channels belong together",
            'distil it into one: method = "distill"',
        )
    return network.size


@torch.no_grad()
def prune(network: Mobile, size: Size, photos: Sequence[Image]) -> Mobile:
    """A new generator of at most the same `size`, its weights those of `network`'s most important parts.

    `photos` (H, W, 3) uint8 are what the importance is measured on; they may be training photographs.
    """
    whole = size_of(network)
    if any(ours > theirs for ours, theirs in zip(size, whole, strict=True)) or min(size[:3]) < 1:
        raise UsageError("E_SETTING", f"cannot prune {whole} to {size}", "nothing may become larger")
    if bool(size.half) != bool(whole.half):
        raise UsageError(
            "E_SETTING", f"cannot prune {whole} to {size}", "a level comes or goes, not channels"
        )
    activity, added = _measure(network, photos)
    weight = {
        name: activity[name] * _norms(layer)
        for name, layer in network.named_modules()
        if isinstance(layer, FoldingConv)
    }
    quarter = _most(weight["down"] + weight["rise" if size.half else "head"], size.quarter)
    blocks = _most(torch.tensor(added), size.blocks).tolist()
    eighth = _most(sum((weight[f"blocks.{n}.first"] for n in blocks), weight["up"]), size.eighth)
    small = Mobile(size)
    packed, ends = torch.arange(48), quarter
    if isinstance(small.stem, TwoLevels) and isinstance(network.stem, TwoLevels):
        ends = _most(weight["head"].unflatten(0, (-1, 4)).sum(1), size.half)
        _take(small.stem.fine, network.stem.fine, ends, torch.arange(12))
        _take(small.stem.near, network.stem.near, quarter, packed)
        _take_up(small.rise, network.rise, ends, quarter)
    else:
        _take(cast(BranchedConv, small.stem), cast(BranchedConv, network.stem), quarter, packed)
    _take(small.down, network.down, eighth, quarter)
    for ours, number in zip(cast(list[Block], list(small.blocks)), blocks, strict=True):
        theirs = cast(Block, network.blocks[number])
        inner = _most(weight[f"blocks.{number}.second"], size.eighth)
        _take(ours.first, theirs.first, inner, eighth)
        _take(ours.second, theirs.second, eighth, inner)
    _take_up(small.up, network.up, quarter, eighth)
    _take_up(small.head, network.head, torch.arange(3), ends)
    return small


def _measure(network: Mobile, photos: Sequence[Image]) -> tuple[dict[str, Tensor], list[float]]:
    """Mean activation of each input channel by layer, and what each block adds, relative to what passes it."""
    activity: dict[str, Tensor] = defaultdict(lambda: torch.zeros(()))
    added = [0.0] * len(network.blocks)

    def see(name: str):  # type: ignore[no-untyped-def]  # a hook's type is torch's
        def hook(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
            activity[name] = activity[name] + given[0].abs().mean((0, 2, 3))

        return hook

    def add(number: int):  # type: ignore[no-untyped-def]
        def hook(block: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
            added[number] += float((answer - given[0]).norm() / given[0].norm().clamp(min=1e-12))

        return hook

    hooks = [
        layer.register_forward_pre_hook(see(name))
        for name, layer in network.named_modules()
        if isinstance(layer, FoldingConv)
    ] + [block.register_forward_hook(add(number)) for number, block in enumerate(network.blocks)]
    try:
        for photo in photos:
            paint(network, to_unit(torch.from_numpy(photo.copy())).permute(2, 0, 1)[None])
    finally:
        for one in hooks:
            one.remove()
    return activity, added


def _norms(layer: FoldingConv) -> Tensor:
    """(in,): the norm of what reads each input channel."""
    return layer.fold()[0].pow(2).sum((0, 2, 3)).sqrt()


def _most(importance: Tensor, count: int) -> Tensor:
    """Indices of the `count` most important, in their old order."""
    return importance.topk(count).indices.sort().values


def _take(ours: BranchedConv, theirs: BranchedConv, out: Tensor, into: Tensor) -> None:
    kernel, bias = theirs.fold()
    ours.unfold(kernel[out][:, into], bias[out])


def _take_up(ours: SmoothUp, theirs: SmoothUp, out: Tensor, into: Tensor) -> None:
    """In its own parameters: the filter on fine pixels, which a kernel does not give back in every case."""
    ours.filter.copy_(theirs.filter[out][:, into])
    ours.bias.copy_(theirs.bias[out])
