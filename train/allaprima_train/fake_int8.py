"""Training for int8: the network paints as if weights and activations had 8 bits, and learns to live with it.

    ranges = Ranges(generator)
    with rounded(generator, ranges):
        painted = paint(generator, batch)        # gradients pass the rounding (Bengio 2013; Jacob 2018)

Only while it paints for the losses: what is averaged, sampled and saved are plain float weights, which a quantizer then
rounds with less loss (`allaprima export --variants int8`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from allaprima.errors import UsageError

from .generators.branched import FoldingConv

__all__ = ["Ranges", "rounded"]

MEMORY = 0.95  # of the ranges from step to step: what one odd batch has shown is forgotten after some fifty


class Ranges(nn.Module):
    """The lowest and highest number that went into each folding convolution, averaged over steps; in checkpoints."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        inner = _inner(generator)
        self.layers = {
            name: name.replace(".", "_")
            for name, layer in generator.named_modules()
            if isinstance(layer, FoldingConv) and name not in inner
        }
        if not self.layers:
            raise UsageError(
                "E_SETTING",
                "[distill] int8: this generator has no folding convolutions",
                "only they are one plain convolution when they ship, which is what int8 rounds",
                'take [generator] network = "mobile"',
            )
        for buffer in self.layers.values():
            self.register_buffer(buffer, torch.zeros(2))

    @torch.no_grad()
    def see(self, name: str, x: Tensor) -> tuple[float, float]:
        """Take note of an input of layer `name`; its range from now on, zero always within."""
        range_ = self.get_buffer(self.layers[name])
        seen = torch.stack([x.amin().clamp(max=0), x.amax().clamp(min=0)]).to(range_)
        range_.copy_(range_.lerp(seen, 1 - MEMORY) if bool(range_.any()) else seen)
        return float(range_[0]), float(range_[1])


def _inner(generator: nn.Module) -> set[str]:
    """Names of folding convolutions that are parts of another one's kernel, and never see a picture themselves."""
    outer = [name for name, layer in generator.named_modules() if isinstance(layer, FoldingConv)]
    return {name for name in outer if any(name.startswith(f"{other}.") for other in outer)}


@contextmanager
def rounded(generator: nn.Module, ranges: Ranges) -> Iterator[None]:
    """Within the block, each folding convolution sees and multiplies what int8 would."""

    def hook(name: str):  # type: ignore[no-untyped-def]  # a hook's type is torch's
        def before(layer: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor]:
            x = given[0].float()
            low, high = ranges.see(name, x.detach())
            scale = max((high - low) / 255, 1e-12)
            return (torch.fake_quantize_per_tensor_affine(x, scale, round(-low / scale), 0, 255),)

        return before

    hooks = []
    try:
        for name, layer in generator.named_modules():
            if isinstance(layer, FoldingConv) and name in ranges.layers:
                layer.rounding = True
                hooks.append(layer.register_forward_pre_hook(hook(name)))
        yield
    finally:
        for one in hooks:
            one.remove()
        for layer in generator.modules():
            if isinstance(layer, FoldingConv):
                layer.rounding = False
