"""One export that many tests look at, because tracing takes seconds."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import trained

from allaprima_export import pipeline
from allaprima_export.pipeline import Exported, export
from allaprima_train.run import Run


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """The networks are too small to share out, and waiting threads spin."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def traced_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what comes after tracing, on `small_run`: its traced core is taken from an earlier test."""
    monkeypatch.setattr(pipeline, "trace", lambda network: trained.traced("mobile", "nano"))


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs")
    return trained.make_run(folder, trained.strong("mobile", "nano"), "mobile", "nano")


@pytest.fixture(scope="session")
def exported(small_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    out: Path = tmp_path_factory.mktemp("bundles") / "small-study.prima"
    return export(small_run.folder, out, variants=["fp32", "fp16"], fixed=[(64, 48)])
