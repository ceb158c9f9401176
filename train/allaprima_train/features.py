"""VGG-19 up to relu3_4, the network whose features stand for what an eye notices (Simonyan 2015).

Weights: a safetensors file with conv1_1.weight ... conv3_4.bias (OIHW; input BGR 0..255 minus the ImageNet mean),
or torchvision's published VGG-19, which is fetched once, by checksum, where there is a network.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from allaprima.errors import InputError

__all__ = ["LAYERS", "VGG19", "Vgg19", "find_features", "load_features"]

VGG19 = "VGG-19 conv1_1 to relu3_4 (Simonyan, Zisserman 2015; weights CC BY 4.0)"
"""What a method that looks through it says of it: the words for the bundle's lineage."""

STAGES = {"1": (64, 2), "2": (128, 2), "3": (256, 4)}  # stage: channels, convolutions; pooling between stages
LAYERS = tuple(f"{stage}_{i}" for stage, (_, count) in STAGES.items() for i in range(1, count + 1))
FILE = "vgg19_to_relu3_4.safetensors"
SHARED = Path("../shared/data/features")

TORCHVISION = (
    "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"  # the name ends with its SHA-256's start
)


class Vgg19(nn.Module):
    """Frozen. (N, 3, H, W) float RGB in [0, 1] -> {'relu3_4': (N, 256, H/4, W/4), ...} for the layers asked."""

    def __init__(self) -> None:
        super().__init__()
        channels_in = 3
        for stage, (channels, count) in STAGES.items():
            for i in range(1, count + 1):
                self.add_module(f"conv{stage}_{i}", nn.Conv2d(channels_in, channels, 3, padding=1))
                channels_in = channels
        self.origin = "random weights"
        """The file that the weights are from, and its SHA-256: the training's lineage."""
        self.register_buffer("mean", torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1))  # BGR
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        x = x.flip(1) * 255 - self.mean  # type: ignore[operator]
        x = x.contiguous(memory_format=torch.channels_last)
        for layer in LAYERS:
            if layer.endswith("_1") and layer != LAYERS[0]:
                x = F.max_pool2d(x, 2)
            x = F.relu(self.get_submodule(f"conv{layer}")(x))
            if f"relu{layer}" in layers:
                found[f"relu{layer}"] = x
                if len(found) == len(layers):
                    break
        return found


def find_features(path: Path | None = None) -> Path | None:
    """The weights to use: `path`, else $ALLAPRIMA_FEATURES, else the shared folder; None: torchvision's.

    A folder stands for the file of the usual name in it. Raises InputError E_FEATURES_MISSING where a path was
    named and nothing is there.
    """
    named = path or (Path(value) if (value := os.environ.get("ALLAPRIMA_FEATURES")) else None)
    if named is not None:
        file = named / FILE if named.is_dir() else named
        if not file.is_file():
            raise InputError(
                "E_FEATURES_MISSING",
                f"cannot read the feature network {file}",
                "there is no such file",
                "give --features PATH or set ALLAPRIMA_FEATURES",
            )
        return file
    return SHARED / FILE if (SHARED / FILE).is_file() else None


def load_features(path: Path | None = None) -> Vgg19:
    """The network with its weights. Raises InputError E_FEATURES_MISSING where none can be had, E_FEATURES_INVALID for
    a file that holds others."""
    file = find_features(path)
    if file is None:
        weights, file = from_torchvision()
    else:
        weights = from_file(file)
    network = Vgg19()
    network.origin = f"{file.name}, SHA-256 {_sha256(file)}"
    try:
        network.load_state_dict({**weights, "mean": network.mean}, strict=True)
    except RuntimeError as error:
        raise InputError(
            "E_FEATURES_INVALID",
            f"{file} is not VGG-19 up to relu3_4",
            str(error).splitlines()[0],
            "it needs conv1_1.weight ... conv3_4.bias, OIHW",
        ) from None
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _sha256(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def from_file(file: Path) -> dict[str, Tensor]:
    """Raises InputError E_FEATURES_INVALID for what is not safetensors."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise InputError(
            "E_FEATURES_INVALID",
            f"cannot read the feature network {file}",
            f"it is no whole safetensors file ({error})",
            "give a safetensors file; with neither --features nor ALLAPRIMA_FEATURES the published weights are fetched",
        ) from None


def from_torchvision() -> tuple[dict[str, Tensor], Path]:
    """torchvision's ImageNet weights in our names and input range, and the file in torch's own cache folder."""
    from torch.hub import get_dir, load_state_dict_from_url

    file = Path(get_dir()) / "checkpoints" / TORCHVISION.rsplit("/", 1)[1]
    try:
        theirs = load_state_dict_from_url(
            TORCHVISION, str(file.parent), check_hash=True, weights_only=True, map_location="cpu"
        )
    except (OSError, RuntimeError) as error:
        raise InputError(
            "E_FEATURES_MISSING",
            "the perceptual losses need the weights of VGG-19",
            f"no file was named and the published ones could not be fetched ({error})",
            "give --features PATH or set ALLAPRIMA_FEATURES to a safetensors file (docs/training.md)",
        ) from None
    numbers = iter(n for n in range(40) if f"features.{n}.weight" in theirs)
    ours = {}
    for layer, number in zip(LAYERS, numbers, strict=False):
        ours[f"conv{layer}.weight"] = theirs[f"features.{number}.weight"]
        ours[f"conv{layer}.bias"] = theirs[f"features.{number}.bias"]
    # torchvision's network takes RGB (x - mean) / std with x in [0, 1]; ours BGR 0..255 minus nearly the same mean
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    ours["conv1_1.weight"] = (ours["conv1_1.weight"] / (255 * std)).flip(1)
    return ours, file
