"""What is trained already and paints for a student to learn from: a run of any method, or any bundle.

teach = teacher("runs/starry", scale=1)
wanted = teach(photos)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from allaprima.bundle import Bundle, find_style
from allaprima.errors import UsageError
from allaprima.stylizer import Stylizer

from .frame_model import from_unit, paint, to_unit
from .generators import Generator
from .run import Run

__all__ = ["Teacher", "teacher"]

Teacher = Callable[[Tensor], Tensor]
"""(N, 3, H, W) float in [0, 1] -> its painting of each, (N, 3, s·H, s·W), not clipped. It has no gradient."""


def teacher(name: str, scale: int, *, controls: bool = True) -> Teacher:
    """The run in a folder, a bundle, or the style of a name; it paints as its controls are by default.

    `controls`: whether it may have any. Raises InputError, BundleError or UsageError for what is none of these,
    UsageError E_SETTING for one that does not paint one picture `scale` times as large.
    """
    if (run := Run(Path(name).expanduser())).exists:
        network, _ = run.generator()
        known = cast(Generator, network)
        own = [control.name for control in known.controls]
        _require(name, scale, known.scale, known.pictures, () if controls else own)
        return _of_run(network)
    bundle = Bundle.open(find_style(name))
    promised = bundle.manifest
    own = [control.name for control in promised.controls if control.labels or control.shape != (1,)]
    _require(name, scale, promised.geometry.scale, len(promised.inputs), () if controls else own)
    return _of_bundle(bundle)


def _require(name: str, scale: int, own: int, pictures: int, controls: Sequence[str]) -> None:
    why = ""
    if own != scale:
        why = f"it paints {own} times as large, the student {scale} times"
    elif pictures != 1:
        why = f"it makes one picture of {pictures}"
    elif controls:
        why = f"it paints in several ways, by its control {' and '.join(controls)}"
    if why:
        raise UsageError("E_SETTING", f"{name} cannot teach this generator", why)


def _of_run(network: nn.Module) -> Teacher:
    plain = cast(Generator, network).folded().eval().requires_grad_(False)
    plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def painted(photos: Tensor) -> Tensor:
        if next(plain.parameters()).device != photos.device:
            plain.to(photos.device)
        return paint(cast(Generator, plain), photos)

    return painted


def _of_bundle(bundle: Bundle) -> Teacher:
    stylizer = Stylizer.open(bundle)

    def painted(photos: Tensor) -> Tensor:
        images = from_unit(photos.detach().cpu()).permute(0, 2, 3, 1).numpy()
        answers = np.stack([stylizer.paint(np.ascontiguousarray(image)) for image in images])
        return to_unit(torch.from_numpy(answers)).permute(0, 3, 1, 2).to(photos.device)

    return painted
