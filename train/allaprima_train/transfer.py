"""Starting from what somebody trained before: a run, a bundle, or a checkpoint from elsewhere.

Nothing that is read is executed. Runs and safetensors are numbers; a bundle's ONNX file is verified by the bundle; a
checkpoint of torch is read with `weights_only=True`, which refuses every pickle that is more than tensors in
containers.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from allaprima.bundle import Bundle, find_style
from allaprima.errors import BundleError, InputError, UsageError

from .frame_model import memory_order
from .generators import Generator
from .generators.branched import FoldingConv
from .generators.doubletail import DoubleTail
from .generators.fuser import Fuser
from .run import Run, load_strictly, what_differs

__all__ = ["Weights", "begin_with", "fitting", "read_weights"]

log = logging.getLogger(__name__)
SAFE_TORCH = (2, 10)
"""Before it, weights_only can be got around."""

CONTAINERS = ("params_ema", "params", "state_dict", "generator", "g_ema", "netG", "model")
"""Where other projects keep a network inside their checkpoint, most wanted first."""

PREFIXES = ("module.", "generator.", "netG.", "network.generator.", "average.module.")


@dataclass(frozen=True)
class Weights:
    """Named tensors and where they are from."""

    tensors: dict[str, Tensor]
    origin: str
    """For the lineage."""
    plain: bool = False
    """Of the folded network, as an exported graph holds it, scaled to bytes."""
    beside: frozenset[str] = frozenset()
    """Layers that only training sees: what does not have them, begins without."""


def read_weights(source: str) -> Weights:
    """The generator's weights in a run's folder, a bundle (or a style's name), a .safetensors or a torch checkpoint.

    Raises InputError E_WEIGHTS_MISSING, E_WEIGHTS_READ, E_WEIGHTS_UNSAFE (a pickle that would run code), or what the
    run or bundle raises.
    """
    path = Path(source).expanduser()
    if (run := Run(path)).exists:
        generator, notes = run.generator()
        shipped = dict(cast(Generator, generator).folded().named_children())
        return Weights(
            generator.state_dict(),
            f"the run {run.recipe().name}, step {notes.get('step', '?')}",
            beside=frozenset(name for name, _ in generator.named_children() if name not in shipped),
        )
    if path.suffix == ".safetensors":
        return Weights(_of_safetensors(path), path.name)
    if path.suffix in (".pth", ".pt", ".ckpt", ".bin"):
        return Weights(_of_torch(path), path.name)
    if path.parent.name == "runs" and not path.suffix and not path.exists():
        raise InputError(
            "E_WEIGHTS_MISSING",
            f"cannot begin with {path}",
            "that run is not here",
            f"train it first, by a recipe of the name {path.name}; or correct [transfer] init_from",
        )
    bundle = Bundle.open(find_style(source))
    return Weights(
        _of_bundle(bundle), f"the bundle {bundle.manifest.name} {bundle.manifest.version}", plain=True
    )


def begin_with(generator: nn.Module, weights: Weights, *, only_what_fits: bool = False) -> str:
    """Load them into the generator, in place. Answers what was taken, in words, for the log.

    `only_what_fits`: tensors of another name or shape are left out, and their places keep fresh weights. Raises
    InputError E_WEIGHTS_MISMATCH that says what differs.
    """
    target = cast(Generator, generator).folded() if weights.plain else generator
    ours = target.state_dict()
    given = {
        name: tensor
        for name, tensor in _stripped(weights.tensors, ours).items()
        if name in ours or name.partition(".")[0] not in weights.beside
    }
    if only_what_fits:
        fit = {
            name: tensor
            for name, tensor in given.items()
            if name in ours and tensor.shape == ours[name].shape
        }
        if weights.plain:  # in bytes: what a layer is scaled by lies in its kernel and its bias
            apart = {_layer(name) for name in ours.keys() - fit.keys()}
            fit = {name: tensor for name, tensor in fit.items() if _layer(name) not in apart}
        if not fit:
            raise InputError(
                "E_WEIGHTS_MISMATCH",
                f"nothing in {weights.origin} fits this generator",
                what_differs(ours, given),
                "choose another [transfer] init_from",
            )
        given, taken = fit, f"{len(fit)} of {len(ours)} tensors"
    else:
        taken = f"all {len(ours)} tensors"
    known = {name: tensor.float() for name, tensor in given.items()}
    load_strictly(target, {**ours, **known} if only_what_fits else known, weights.origin)
    if weights.plain:
        _unfold(generator, target, {_layer(name) for name in known})
    if isinstance(generator, DoubleTail):
        generator.begun(known.keys())
    return f"{taken} from {weights.origin}"


def fitting(patterns: Sequence[str], names: Sequence[str], setting: str) -> dict[str, str]:
    """Name -> the last of the patterns that fits it. Raises UsageError E_SETTING for a pattern that fits nothing."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            layers = sorted({".".join(name.split(".")[:2]) for name in names})
            raise UsageError(
                "E_SETTING",
                f"[transfer] {setting}: {pattern!r} fits no weight",
                next=f"they are called {', '.join(f'{layer}.*' for layer in layers)}",
            )
    return {name: pattern for pattern in patterns for name in names if fnmatchcase(name, pattern)}


def _of_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _require_file(path)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            "E_WEIGHTS_READ",
            f"cannot read the weights {path}",
            str(error),
            "check the file, or download it again",
        ) from None


def _of_torch(path: Path) -> dict[str, Tensor]:
    import pickle

    _require_file(path)
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < SAFE_TORCH:
        raise InputError(
            "E_WEIGHTS_UNSAFE",
            f"{path} is a pickle, and was not read",
            f"PyTorch {torch.__version__} can be made to run what is in it, weights_only or not (CVE-2026-24747)",
            f"install PyTorch {SAFE_TORCH[0]}.{SAFE_TORCH[1]} or newer, or save it as .safetensors",
        )
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        said = str(error).splitlines()
        what = next(
            (line.strip() for line in said if "GLOBAL" in line or "Unsupported" in line),
            said[0] if said else "",
        )
        raise InputError(
            "E_WEIGHTS_UNSAFE",
            f"{path} is not only weights, and was not read",
            f"reading it would run what is in it ({what[:160]})",
            "save its state_dict as .safetensors, in a place where running it does no harm",
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise InputError(
            "E_WEIGHTS_READ",
            f"cannot read the weights {path}",
            str(error).splitlines()[0] if str(error) else type(error).__name__,
            "check the file, or download it again",
        ) from None
    return _tensors(loaded, path)


def _tensors(loaded: Any, path: Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint, however deep other projects put it."""
    while isinstance(loaded, Mapping):
        if loaded and all(isinstance(value, Tensor) for value in loaded.values()):
            return {str(name): tensor for name, tensor in loaded.items()}
        inner = next((name for name in CONTAINERS if isinstance(loaded.get(name), Mapping)), None)
        if inner is None:
            break
        loaded = loaded[inner]
    found = ", ".join(map(str, list(loaded)[:8])) if isinstance(loaded, Mapping) else type(loaded).__name__
    raise InputError(
        "E_WEIGHTS_READ",
        f"{path} holds no weights by name",
        f"it holds {found}; looked for {', '.join(CONTAINERS)}",
        "save the generator's state_dict alone",
    )


def _of_bundle(bundle: Bundle) -> dict[str, Tensor]:
    """The folded network's weights in the float32 graph. Raises BundleError E_BUNDLE_MODEL where it has none."""
    import onnx

    variants = [variant for variant in bundle.manifest.variants if variant.precision == "fp32"]
    graph = (
        onnx.load_model_from_string(bundle.read(variants[0].file)).graph if variants else onnx.GraphProto()
    )
    prefix = "generator."
    found = {
        one.name.removeprefix(prefix): torch.from_numpy(onnx.numpy_helper.to_array(one).copy())
        for one in graph.initializer
        if one.name.startswith(prefix)
    }
    if not found:
        raise BundleError(
            "E_BUNDLE_MODEL",
            f"{bundle.path} holds no weights to begin with",
            "it has no fp32 variant, or its network is not one of ours",
            "take the run that it was exported from",
        )
    return found


def _unfold(generator: nn.Module, plain: nn.Module, taken: Set[str]) -> None:
    """Weights with which `generator` folds into the layers of `plain` that were `taken` from bytes: undo that, then
    unfold layer by layer. The others keep their own."""
    _from_bytes(plain, {id(part) for name, part in plain.named_modules() if name in taken})
    folding = {
        name: layer
        for name, layer in generator.named_modules()
        if isinstance(layer, FoldingConv) and name in taken
    }
    for name, layer in folding.items():
        convolution = plain.get_submodule(name)
        if not isinstance(convolution, nn.Conv2d) or convolution.bias is None:
            raise UsageError(
                "E_SETTING",
                f"a bundle cannot begin a {type(generator).__name__} generator",
                f"its layer {name} is no plain convolution",
                "[transfer] init_from the run that the bundle was exported from",
            )
        layer.unfold(convolution.weight, convolution.bias)
    if plain is not generator:
        within = tuple(
            f"{name}." for name, layer in generator.named_modules() if isinstance(layer, FoldingConv)
        )
        rest = {name: t for name, t in plain.state_dict().items() if not name.startswith(within)}
        generator.load_state_dict(rest, strict=False)


@torch.no_grad()
def _from_bytes(plain: nn.Module, given: Set[int]) -> None:
    """Undo `in_bytes` of the export in those layers whose id was `given`; what it did is said there."""
    if isinstance(plain, Fuser):  # it mixes pictures: only what it looks at was scaled
        if id(plain.stem) in given:
            cast(nn.Conv2d, plain.stem).weight.mul_(255)
        return
    made = cast(Generator, plain)
    into, out_of = (memory_order(n) for n in (made.period, made.period * made.scale))
    stem = [one for one in _convolutions(plain.stem) if one.in_channels == len(into)]  # a property of some
    head = _convolutions(plain.head)[-1]
    for first in (one for one in stem if id(one) in given):
        first.weight.copy_(first.weight[:, into.argsort()] * 255)
    if id(head) in given:
        head.weight.copy_(head.weight[out_of.argsort()] / 255)
        if head.bias is not None:
            head.bias.copy_(head.bias[out_of.argsort()] / 255)


def _layer(name: str) -> str:
    """blocks.0.first.weight -> blocks.0.first"""
    return name.rpartition(".")[0]


def _convolutions(module: nn.Module | Tensor) -> list[nn.Conv2d]:
    return [part for part in cast(nn.Module, module).modules() if isinstance(part, nn.Conv2d)]


def _stripped(tensors: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefix that other wrappers put before every name, where that makes more names fit."""

    def without(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}

    return max((dict(tensors), *map(without, PREFIXES)), key=lambda given: len(given.keys() & ours.keys()))


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(
            "E_WEIGHTS_MISSING",
            f"cannot begin with {path}",
            "there is no such file",
            "correct [transfer] init_from: a run's folder, a bundle, a .safetensors or .pth file",
        )
