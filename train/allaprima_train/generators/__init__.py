"""Generators: networks that paint. One file each.

A generator is a module (N, 3, H, W) float RGB in [0, 1] -> (N, 3, s·H, s·W), with `packed_paint`, `folded`, `veil`,
`period`, `stride`, `margin`, `scale` s and `pictures` as `mobile.py` explains them, and `controls` as in
`controls.py`: all that training and export ask of it. Its first convolution lies in `stem`, its last in `head`:
export scales these to bytes.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from allaprima.errors import UsageError
from allaprima.manifest import Control
from allaprima.settings import nearest

from .coarse_to_fine import SIZES as COARSE_SIZES
from .coarse_to_fine import CoarseToFine
from .fuser import SIZES as FUSER_SIZES
from .fuser import Fuser
from .mobile import SIZES, Mobile
from .resnet import SIZES as RESNET_SIZES
from .resnet import Resnet
from .restorer import SIZES as RESTORER_SIZES
from .restorer import Restorer, enlarged

__all__ = ["GENERATORS", "Generator", "enlarged", "make_generator"]


class Generator(Protocol):
    period: int
    stride: int
    margin: int
    veil: float
    scale: int
    pictures: int
    controls: tuple[Control, ...]

    def __call__(self, x: Tensor, *controls: Tensor) -> Tensor: ...
    def packed_paint(self, packed: Tensor, *controls: Tensor) -> Tensor: ...
    def folded(self) -> nn.Module: ...


GENERATORS: dict[str, tuple[type[nn.Module], tuple[str, ...]]] = {
    "mobile": (Mobile, tuple(SIZES)),
    "resnet": (Resnet, tuple(RESNET_SIZES)),
    "coarse-to-fine": (CoarseToFine, tuple(COARSE_SIZES)),
    "fuser": (Fuser, tuple(FUSER_SIZES)),
    "restorer": (Restorer, tuple(RESTORER_SIZES)),
}


def make_generator(network: str, size: str) -> nn.Module:
    """A generator with fresh weights. Raises UsageError E_SETTING for a name that is not in the table."""
    if network not in GENERATORS:
        raise UsageError(
            "E_SETTING",
            f"there is no generator {network!r}{nearest(network, GENERATORS)}",
            next=f"choose one of {', '.join(GENERATORS)}",
        )
    kind, sizes = GENERATORS[network]
    if size not in sizes:
        raise UsageError(
            "E_SETTING", f"{network} has no size {size!r}", next=f"choose one of {', '.join(sizes)}"
        )
    return kind(size)
