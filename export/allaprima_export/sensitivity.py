"""Which layers of a network int8 spoils, and the smallest set of them to keep in floating point.

Smallest in this sense: none of the set can go back to int8. All subsets of forty layers cannot be tried.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

__all__ = ["Tried", "search"]


@dataclass(frozen=True)
class Tried:
    """One choice of layers to keep. Truthy when what is left in int8 is faithful."""

    faithful: bool
    margin_db: float
    """How far from the limits; the less, the more harm is done."""

    def __bool__(self) -> bool:
        return self.faithful


def search(layers: Sequence[str], attempt: Callable[[Collection[str]], Tried]) -> tuple[str, ...] | None:
    """The layers to keep, in the network's order; None where even one layer in int8 is too much.

    `attempt(kept)` paints with all layers but `kept` in int8. About 2 attempts for each layer: each layer alone in
    int8 says how much harm it does by itself; the most harmful ones are kept, as many as it takes (halving); and
    of these each one goes back that can, the least harmful first.
    """
    if attempt(()):
        return ()
    alone = {layer: attempt([other for other in layers if other != layer]).margin_db for layer in layers}
    by_harm = sorted(layers, key=lambda layer: alone[layer])
    enough, too_few = len(layers), 0  # how many of the most harmful; that many kept: nothing is in int8
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if attempt(by_harm[:middle]):
            enough = middle
        else:
            too_few = middle
    if enough == len(layers):
        return None
    kept = by_harm[:enough]
    for layer in reversed(by_harm[:enough]):
        without = [other for other in kept if other != layer]
        if attempt(without):
            kept = without
    return tuple(layer for layer in layers if layer in kept)
