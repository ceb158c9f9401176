"""`--control NAME=VALUE`: a style's own controls from the command line, by number or by what the numbers stand for.

truncation=0.4      domain=outline      domain=ink:0.3,outline:0.7      domain=0.3,0,0.7      code=1.5,-1

Of many numbers without names the first are enough; the others stay as they are by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import settings
from ..errors import UsageError

if TYPE_CHECKING:
    from ..manifest import Control

__all__ = ["control_values"]

STRENGTH = "strength"  # has an option of its own


def control_values(controls: Sequence[Control], texts: Sequence[str]) -> dict[str, list[float]]:
    """What to give to `Stylizer.set`, which checks names and ranges. Raises UsageError E_USAGE for nonsense."""
    known_by_name = {control.name: control for control in controls}
    example = _example(controls)
    values = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign:
            raise _unreadable(text, "it has no '='", example)
        name = name.strip()
        if name not in known_by_name:
            nearest = settings.nearest(name, known_by_name)
            known = f"it has {', '.join(known_by_name)}{nearest}" if known_by_name else "it has none"
            raise _unreadable(text, f"the style has no control {name!r}: {known}", example)
        control = known_by_name[name]
        numbers = _numbers(text, value, control.labels, example)
        values[name] = numbers if control.labels else [*numbers, *control.initial[len(numbers) :]]
    return values


def _example(controls: Sequence[Control]) -> str:
    """How a control of this very style is given."""
    for control in controls:
        if control.labels:
            shares = ",".join(f"{label}:0.5" for label in control.labels[:2])
            return f"write --control {control.name}={control.labels[0]}, or --control {control.name}={shares}"
        if control.name != STRENGTH:
            return f"write --control {control.name}={','.join(f'{value:g}' for value in control.initial)}"
    return "leave --control out; --strength is how much of the painting there is"


def _numbers(text: str, value: str, labels: Sequence[str], example: str) -> list[float]:
    parts = [part.strip() for part in value.split(",")]
    try:
        return [float(part) for part in parts]
    except ValueError:
        if not labels:
            raise _unreadable(text, f"{value!r} is no number", example) from None
    weights = dict.fromkeys(labels, 0.0)
    for part in parts:
        label, sign, share = part.partition(":")
        if label not in weights:
            known = f"it has {', '.join(labels)}{settings.nearest(label, labels)}"
            raise _unreadable(text, f"there is no {label!r}: {known}", example)
        try:
            weights[label] = float(share) if sign else 1.0
        except ValueError:
            raise _unreadable(text, f"{share!r} is no number", example) from None
    return list(weights.values())


def _unreadable(text: str, why: str, example: str) -> UsageError:
    return UsageError(
        "E_USAGE",
        f"cannot read --control {text}",
        why,
        f"{example}; `allaprima info STYLE` lists what a style has",
    )
