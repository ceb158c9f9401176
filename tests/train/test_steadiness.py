"""What holds strokes steady, measured against what varies in the painting."""

import pytest
import torch
from torch import Tensor, nn

from allaprima_train.objectives.painting import Steadiness, steady

CHOSEN = Steadiness(grid_weight=0)
CONTEXT = 16


class Contrast(nn.Module):
    """A painter that sees where its cells of 8 pixels begin, and paints with `contrast`."""

    stride, period, margin, scale, pictures, controls = 8, 4, 0, 1, 1, ()

    def __init__(self, contrast: float) -> None:
        super().__init__()
        self.contrast = contrast

    def forward(self, x: Tensor) -> Tensor:
        rows = (torch.arange(x.shape[-2]) % 8 < 4).to(x)[:, None]
        return 0.5 + self.contrast * (x - 0.5) * (0.5 + rows)


def held(contrast: float, photo: Tensor) -> dict[str, float]:
    torch.manual_seed(1)  # the same move by a few pixels
    painter = Contrast(contrast)
    return {
        name: float(term) for name, term in steady(CHOSEN, painter, photo, painter(photo), CONTEXT).items()
    }


def test_a_pale_painting_is_no_steadier_than_a_strong_one() -> None:
    photo = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    strong, pale, palest = (held(contrast, photo) for contrast in (1.4, 0.7, 1e-3))
    assert strong["shift"] > 1e-3
    assert pale == pytest.approx(strong, rel=0.05)  # as plain squares it would be a quarter
    assert palest["shift"] < strong["shift"] / 100  # nothing painted yet: nothing to divide by
