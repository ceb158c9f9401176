"""How many processors this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["available"]


def available(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """The processors that we may run on, at least 1.

    `os.cpu_count()` counts the machine's, also under `taskset` and in a container with half a processor,
    where a thread for each of them makes every one wait for the others. The paths are parameters for tests.
    """
    try:
        allowed = len(os.sched_getaffinity(0))  # type: ignore[attr-defined,unused-ignore]
    except AttributeError:  # macOS and Windows have no such call
        allowed = os.cpu_count() or 1
    return max(1, min([allowed, *(math.ceil(share) for share in _quotas(cgroups, own))]))


def _quotas(cgroups: Path, own: Path) -> list[float]:
    """Processors granted by each control group that we are in, from our own up to the root."""
    shares: list[float] = []
    for line in _text(own).splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "":  # version 2: one tree
            root, names = cgroups, ["cpu.max"]
        elif "cpu" in controllers.split(","):  # version 1: a tree for each controller
            root, names = cgroups / "cpu", ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        else:
            continue
        folder = Path(group.lstrip("/"))
        for level in (folder, *folder.parents):
            # "max 100000" or "-1" and "100000": no limit; "150000 100000": one and a half processors
            words = " ".join(_text(root / level / name) for name in names).split()
            if len(words) == 2 and words[0].isdigit():
                shares.append(int(words[0]) / int(words[1]))
    return shares


def _text(path: Path) -> str:
    """The file's text, or nothing: not every system has it, and not every level of a group."""
    try:
        return path.read_text()
    except OSError:
        return ""
