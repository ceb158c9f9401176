"""What tests of every folder need."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before any test module imports a vendor's runtime: none of them reports home from here. As in the backends.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
if "openvino" not in sys.modules:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

# Several processes of tests (`pytest -n 2`): one thread each, or they wait for each other. torch reads it once.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Engines that tests build on a machine with a card are nobody's: they go when the tests are over.
_ENGINES = tempfile.TemporaryDirectory(prefix="allaprima-tests-")
os.environ["ALLAPRIMA_CACHE"] = _ENGINES.name

# What somebody has measured or built on this machine decides nothing here; made only where a test writes to it.
os.environ["ALLAPRIMA_CACHE"] = str(Path(tempfile.gettempdir()) / f"allaprima-tests-{os.getpid()}")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real clips, pictures and models beside the checkout. Tests that need it are skipped without."""
    if not SHARED_DATA.is_dir():
        pytest.skip("../shared/data is not here")
    return SHARED_DATA


@pytest.fixture
def no_threads_left() -> Iterator[None]:
    """Fails where a test leaves a thread of ours running."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        left = [thread for thread in threading.enumerate() if thread not in before and thread.is_alive()]
        if not left:
            return
        time.sleep(0.02)
    pytest.fail(f"threads are left: {left}")
