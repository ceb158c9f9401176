"""Benchmarks that need what is not here say so, and end well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

GPU = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def test_without_a_card_the_gpu_benchmark_says_so_and_claims_nothing() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a card: run benchmarks/gpu.py itself")
    done = subprocess.run(
        [sys.executable, str(GPU)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "no GPU: torch finds no card that it can use here\n"


@pytest.mark.slow
def test_every_step_of_the_gpu_benchmark_works_on_a_processor() -> None:
    pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, str(GPU), "--rehearse"], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert '"gpu": "none"' in done.stdout
    assert "these figures mean nothing" in done.stdout
