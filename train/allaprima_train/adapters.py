"""Low-rank adapters on convolutions (LoRA, Hu 2021): a few per cent of the weights train, and nothing of it ships.

    kernel = trained kernel + up @ down        up (out, rank), starting at zero; down (rank, in · k · k)

They are parametrisations of torch: whoever reads the kernel - a forward pass, a fold, an export - gets the sum.
`merged` puts the sum in the kernel's place, the very tensor that was read before, so that painting before and after
are the same bit for bit and the weights that are saved are those of the plain network.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from allaprima.errors import UsageError

from .generators.branched import BranchedConv, PackedUp, SmoothUp

__all__ = ["LowRank", "adapt", "is_adapter", "merged"]

KERNELS: dict[type[nn.Module], str] = {
    BranchedConv: "full",  # its other branches stay as they are trained
    SmoothUp: "filter",
    PackedUp: "filter",
    nn.Conv2d: "weight",
}


class LowRank(nn.Module):
    def __init__(self, kernel: Tensor, rank: int) -> None:
        super().__init__()
        out, rest = kernel.shape[0], kernel[0].numel()
        self.up = nn.Parameter(torch.zeros(out, rank))
        self.down = nn.Parameter(torch.randn(rank, rest) / rest**0.5)

    def forward(self, kernel: Tensor) -> Tensor:
        with torch.autocast(kernel.device.type, enabled=False):  # the kernel in fp32, always
            return kernel + (self.up @ self.down).view_as(kernel)


def adapt(generator: nn.Module, rank: int, patterns: Sequence[str] = ("*",)) -> list[str]:
    """Give the generator's convolutions adapters, where a pattern fits the layer's name; in place. Their names.

    Raises UsageError E_SETTING where no convolution's name fits.
    """
    found = []
    for name, module in list(generator.named_modules()):
        kernel = next((kernel for kind, kernel in KERNELS.items() if type(module) is kind), None)
        if kernel and any(fnmatchcase(name, pattern) for pattern in patterns):
            parametrize.register_parametrization(module, kernel, LowRank(getattr(module, kernel), rank))
            found.append(name)
    if not found:
        layers = [name for name, module in generator.named_modules() if type(module) in KERNELS]
        raise UsageError(
            "E_SETTING",
            f"[transfer] adapt = {list(patterns)} fits no convolution of the generator",
            next=f"its convolutions are {', '.join(layers)}",
        )
    return found


def is_adapter(name: str) -> bool:
    """Whether a parameter of that name belongs to an adapter."""
    return ".parametrizations." in f".{name}" and name.endswith((".up", ".down"))


def merged(generator: nn.Module) -> nn.Module:
    """The plain network that an adapted one amounts to, a copy; one without adapters is given back as it is."""
    if not any(True for _ in _adapted(generator)):
        return generator
    plain = copy.deepcopy(generator)
    for module in list(_adapted(plain)):
        names = [name for name, _ in module.get_submodule("parametrizations").named_children()]
        kernels = {name: getattr(module, name).detach().clone() for name in names}
        # not torch's remove_parametrizations: it takes the property from the class, which is the original's, too
        module.__class__ = type(module).__mro__[1]
        del module.parametrizations
        for name, kernel in kernels.items():
            module.register_parameter(name, nn.Parameter(kernel))
    return plain


def _adapted(network: nn.Module) -> Iterator[nn.Module]:
    return (module for module in network.modules() if parametrize.is_parametrized(module))
