"""More variety out of few pictures, by kornia, on whatever device trains.

`Augment` varies what a method trains on; `Varied` what a discriminator sees, real pictures and paintings alike.
Crops, zooms and mirroring happen earlier, where pictures are read (data.py). All chance is torch's, so a step's is a
function of the recipe's seed and its number.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from kornia import augmentation as kornia
from kornia.geometry.transform import translate
from torch import Tensor, nn

from . import tables

__all__ = ["Augment", "Varied"]


class Augment:
    """Batches with their pictures turned and their light and colours changed, as [augment] says."""

    def __init__(self, chosen: tables.Augment) -> None:
        self.streams = chosen.streams
        steps: list[kornia.AugmentationBase2D] = []
        if chosen.rotation:
            steps.append(kornia.RandomRotation(chosen.rotation, p=1.0))
        if chosen.brightness or chosen.contrast or chosen.saturation or chosen.hue:
            brightness, contrast, saturation = (
                (1 - by, 1 + by) for by in (chosen.brightness, chosen.contrast, chosen.saturation)
            )
            hue = (-chosen.hue, chosen.hue)
            steps.append(kornia.ColorJiggle(brightness, contrast, saturation, hue, p=1.0))
        self.steps = kornia.AugmentationSequential(*steps, data_keys=["input"]) if steps else None

    def __call__(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Pictures (N, 3, H, W) in [0, 1] -> the same shape and range. What belongs to a `content` is varied exactly as
        that: its `target`, and the `pictures`, (N, K, 3, H, W), that it is to be made of."""
        varied = dict(batch)
        for name in self.streams if self.steps else ():
            if name in batch:
                varied[name] = self._vary(batch[name])
                if name == "content" and "target" in batch:
                    varied["target"] = self._vary(batch["target"], again=True)
                if name == "content" and "pictures" in batch:
                    each = [self._vary(one, again=True) for one in batch["pictures"].unbind(1)]
                    varied["pictures"] = torch.stack(each, 1)
        return varied

    def _vary(self, pictures: Tensor, *, again: bool = False) -> Tensor:
        assert self.steps is not None
        # turned about the middle of a mirrored surrounding, so that no black corners come in
        margin = pictures.shape[-1] // 4
        wide = nn.functional.pad(pictures.float(), (margin, margin, margin, margin), mode="reflect")
        answer = self.steps(wide, params=self.steps._params) if again else self.steps(wide)
        inside = answer[..., margin:-margin, margin:-margin].clamp(0, 1)
        kept: Tensor = inside.contiguous(memory_format=torch.channels_last)
        return kept


class Varied(nn.Module):
    """DiffAugment (Zhao 2020): every picture that a discriminator sees, varied; its gradient passes.

    colour        brightness by up to a half either way, saturation by 0 to 2, contrast by 1/2 to 3/2
    translation   by up to an eighth of the side; black comes in
    cutout        a square of half the side, grey
    """

    def __init__(self, policy: tuple[str, ...]) -> None:
        super().__init__()
        self.policy = policy
        self.cut = kornia.RandomErasing(scale=(0.25, 0.25), ratio=(1.0, 1.0), value=0.5, p=1.0)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] -> the same shape, not clipped."""
        count, (height, width) = len(x), x.shape[-2:]
        if "colour" in self.policy:
            # kornia's own colour functions clip, and beyond the clip there is no gradient
            shift, grey, gain = torch.rand(3, count, 1, 1, 1, device=x.device)
            x = x + shift - 0.5
            x = torch.lerp(x.mean(1, keepdim=True).expand_as(x), x, 2 * grey)
            x = torch.lerp(x.mean((1, 2, 3), keepdim=True).expand_as(x), x, gain + 0.5)
        if "translation" in self.policy:
            by = (
                (torch.rand(count, 2, device=x.device) * 2 - 1)
                * torch.tensor([width, height], device=x.device)
                / 8
            )
            x = translate(x, by.round())
        if "cutout" in self.policy:
            x = self.cut(x)
        return x
