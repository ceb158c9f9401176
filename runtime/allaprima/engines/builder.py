"""One builder for every flavour of TensorRT: an ONNX file in, an engine out. Needs neither torch nor a card for RTX.

Strongly typed only: 10.x is asked for it, 11.x and RTX know nothing else. So there are no flags for fp16 or int8, and
no calibrator; the variant that is built has its precision in its types, int8 as explicit QuantizeLinear nodes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..errors import DeviceError
from ..onnx_floats import floats_inside
from .flavour import Vendor
from .key import Key

__all__ = ["Built", "build"]

# What the parser refuses, and what helps. The first that is found in its words or its operator.
REMEDIES = (
    ("non-zero zero point", "quantize symmetrically: allaprima export --quantizer nncf-symmetric"),
    ("uint8", "bytes may only be moved between the graph's edges and a Cast: export the style with allaprima export"),
    ("dequantizelinear|quantizelinear|zero point|int32", "quantize symmetrically in int8, weights and activations, "
     "and leave biases in float: allaprima export --quantizer nncf-symmetric does"),
    ("resize", "use linear or nearest Resize with constant scales"),
    ("pad", "pad by edge, reflect or a constant, before the network instead of inside it"),
    ("no importer|unsupported operator|plugin", "use operators that TensorRT has, or another backend"),
    ("dynamic|shape tensor", "build for one size: --at 1280x720"),
)  # fmt: skip


@dataclass(frozen=True)
class Built:
    engine: bytes
    timings: bytes | None
    """The timing cache after the build; None where there is none."""


def build(
    vendor: Vendor,
    model: bytes,
    key: Key,
    *,
    what: str,
    timings: bytes | None = None,
    on_progress: Callable[[float, str], None] = lambda done, phase: None,
) -> Built:
    """Parse and compile. `on_progress` hears the part that is done, 0..1, and the phase, from any thread.

    Raises DeviceError: E_ENGINE_REFUSED with the node that the parser does not take and a remedy, E_ENGINE_BUILD
    with TensorRT's own words for everything later.
    """
    trt = vendor.trt
    vendor.said.clear()
    builder = _made(trt.Builder(vendor.logger), vendor, what)
    network = _made(builder.create_network(_network_flags(trt)), vendor, what)
    parser = trt.OnnxParser(network, vendor.logger)
    if not parser.parse(floats_inside(model)):
        raise _refused(parser, vendor, what)
    config = _made(builder.create_builder_config(), vendor, what)
    _configure(config, vendor, key)
    _set_shapes(builder, config, network, vendor, key, what)
    cache = _timing_cache(config, timings or b"") if _times_kernels(vendor, key) else None
    monitor = _monitor(trt, on_progress)
    config.progress_monitor = monitor
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise DeviceError(
            "E_ENGINE_BUILD",
            f"{vendor.title} cannot build an engine for {what}",
            vendor.reason(),
            "try another --size or precision; with little memory on the card, a smaller --workspace",
        )
    return Built(bytes(engine), bytes(cache.serialize()) if cache is not None else None)


def _network_flags(trt: Any) -> int:
    """Strongly typed: the flag of 10.x, which 11.x takes and ignores as long as it has it."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _configure(config: Any, vendor: Vendor, key: Key) -> None:
    trt = vendor.trt
    config.clear_flag(trt.BuilderFlag.TF32)  # fp32 means fp32; it is on by default
    config.builder_optimization_level = key.options.level
    if key.options.workspace_mib:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, key.options.workspace_mib << 20)
    if key.sm in vendor.targets:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{key.sm}"), 0)


def _set_shapes(builder: Any, config: Any, network: Any, vendor: Vendor, key: Key, what: str) -> None:
    """Sizes built in where they are fixed, which computes all shapes now; else a profile from least to most."""
    inputs = [network.get_input(number) for number in range(network.num_inputs)]
    profile = builder.create_optimization_profile()
    for tensor in inputs:
        wanted = key.shapes[tensor.name]
        if wanted.fixed:
            tensor.shape = wanted.best
        else:
            profile.set_shape(tensor.name, wanted.least, wanted.best, wanted.most)
    if not key.fixed and config.add_optimization_profile(profile) < 0:
        raise DeviceError(
            "E_ENGINE_BUILD",
            f"{vendor.title} cannot build an engine for {what}",
            f"it takes no sizes {key.size}: {vendor.reason()}",
            "choose a smaller range, or one size",
        )


def _times_kernels(vendor: Vendor, key: Key) -> bool:
    """TensorRT-RTX has the calls and warns at each that they do nothing."""
    return key.options.timing_cache and vendor.flavour.word != "rtx"


def _timing_cache(config: Any, timings: bytes) -> Any:
    """What earlier builds measured; an empty one where that is of another card or version."""
    cache = config.create_timing_cache(timings)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _monitor(trt: Any, on_progress: Callable[[float, str], None]) -> Any:
    progress = Progress()

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            progress.start(name, parent, steps)

        def step_complete(self, name: str, step: int) -> bool:
            on_progress(progress.step(name, step), name)
            return True  # False would cancel; a build is cancelled by ending its process

        def phase_finish(self, name: str) -> None:
            progress.finish(name)

    return Monitor()


@dataclass
class Progress:
    """TensorRT's phases within phases as one part of the whole, which never goes back."""

    phases: dict[str, tuple[str | None, int, int]] = field(default_factory=dict)
    """Name -> the phase around it, steps done, steps in all."""
    done: float = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        self.phases[name] = (parent, 0, max(1, steps))

    def step(self, name: str, step: int) -> float:
        """0..1 after this step."""
        parent, _, steps = self.phases.get(name, (None, 0, step + 1))
        self.phases[name] = (parent, min(step + 1, steps), steps)
        share, inside = 0.0, name
        for _ in range(len(self.phases)):  # from the innermost phase outwards; a name may come twice
            around, finished, all_steps = self.phases.get(inside, (None, 0, 1))
            share = min(1.0, (finished + share) / all_steps) if inside != name else finished / all_steps
            if around is None:
                break
            inside = around
        self.done = max(self.done, share)
        return self.done

    def finish(self, name: str) -> None:
        self.phases.pop(name, None)


def _refused(parser: Any, vendor: Vendor, what: str) -> DeviceError:
    error = parser.get_error(0) if parser.num_errors else None
    if error is None:
        return DeviceError(
            "E_ENGINE_REFUSED", f"{vendor.title} does not take {what}", vendor.reason(), "use another backend"
        )
    operator, name = error.node_operator(), error.node_name()
    words = re.sub(r"^Assertion failed: [^:]*: *", "", error.desc()).strip().rstrip(".")
    text = f"{operator} {words}".lower()
    remedy = next(
        (help for signs, help in REMEDIES if re.search(signs, text)), "use another backend for this style"
    )
    where = f"node {name!r} ({operator}): " if operator else ""
    return DeviceError("E_ENGINE_REFUSED", f"{vendor.title} does not take {what}", where + words, remedy)


def _made(thing: Any, vendor: Vendor, what: str) -> Any:
    if thing is None:
        raise DeviceError(
            "E_ENGINE_BUILD",
            f"{vendor.title} cannot build an engine for {what}",
            vendor.reason(),
            "allaprima doctor says what is missing",
        )
    return thing
