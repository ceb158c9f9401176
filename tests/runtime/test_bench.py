"""What is fastest is measured, proven, remembered, and forgotten as soon as it may be wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import bundles
import numpy as np
import pytest

from allaprima import machine, winners
from allaprima.bench import Line, bench, fastest
from allaprima.bundle import Bundle
from allaprima.cli import main
from allaprima.errors import BundleError
from allaprima.frame import Frame
from allaprima.meter import Percentiles
from allaprima.planes import Planes
from allaprima.stylizer import Stylizer
from allaprima.winners import Winner, forget, recall, remember, remembered

SIZE = (64, 48)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALLAPRIMA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def style(tmp_path: Path) -> Bundle:
    promise = bundles.manifest(variants=(bundles.variant("fp32"), bundles.variant("fp16")))
    return Bundle.open(bundles.make_bundle(tmp_path / "negative.prima", promise=promise))


def winner(**changes: object) -> Winner:
    made = Winner(
        style="negative", size=SIZE, edges="rgb", threads=2, backend="ort", precision="fp16", variant="fp16",
        p50_ms=1.5, measured="2026-11-21", machine=machine.fingerprint(),
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def test_every_variant_is_measured_on_every_backend_that_starts(style: Bundle) -> None:
    lines = list(bench(style, SIZE, seconds=0.01))
    ran = {(line.backend, line.precision, line.variant) for line in lines if line.ran}
    assert {("ort", "fp32", "fp32"), ("ort", "fp16", "fp16"), ("openvino", "fp32", "fp32")} <= ran
    assert all(line.golden is True and line.runs >= 5 for line in lines if line.ran)
    others = [line for line in lines if not line.ran]
    assert all(line.what for line in others)
    assert {"tensorrt", "ort:cuda"} & {line.backend for line in lines}


def test_a_variant_that_breaks_its_promise_does_not_win(tmp_path: Path) -> None:
    def wrong(metadata: dict[str, str]) -> bytes:
        return bundles.frame_model(poison=60, metadata=metadata)  # brighter than the golden picture

    style = Bundle.open(bundles.make_bundle(tmp_path / "negative.prima", model=wrong))
    lines = list(bench(style, SIZE, seconds=0.01))
    assert {line.golden for line in lines if line.ran} == {False}
    assert fastest(style, lines) == []


def test_the_lowest_median_wins_among_the_faithful(style: Bundle) -> None:
    def line(backend: str, p50: float, golden: bool | None = True, edges: str = "rgb") -> Line:
        return Line(backend, "fp32", "fp32", edges, SIZE, 2, "", Percentiles(p50, p50, p50), 9, golden, None)

    lines = [
        line("a", 3),
        line("b", 1, golden=False),
        line("c", 2),
        line("d", 1, golden=None),
        line("e", 9, edges="planes"),
    ]
    assert [(one.backend, one.edges) for one in fastest(style, lines)] == [("c", "rgb"), ("e", "planes")]


def test_the_winner_paints_from_then_on_and_says_so(style: Bundle) -> None:
    with Stylizer.open(style, size=SIZE, threads=2) as stylizer:
        assert stylizer.report.backend != "ort"
        assert "chosen by measurement" not in stylizer.report.line
    remember(style, winner())
    with Stylizer.open(style, size=SIZE, threads=2) as stylizer:
        assert (stylizer.report.backend, stylizer.report.precision) == ("ort", "fp16")
        assert stylizer.report.line.endswith("chosen by measurement on 2026-11-21")
        assert stylizer.report.degraded == []
        stylizer.paint(bundles.ramp(32, 32))  # who paints stays the same for other sizes
        assert stylizer.report.backend == "ort"


@pytest.mark.parametrize(
    "how", [{"backend": "openvino"}, {"precision": "fp32"}, {"threads": 1}, {"size": (96, 64)}]
)
def test_what_was_measured_otherwise_or_is_named_counts_before_it(style: Bundle, how: dict) -> None:
    remember(style, winner())
    with Stylizer.open(style, **{"size": SIZE, "threads": 2, **how}) as stylizer:
        assert "chosen by measurement" not in stylizer.report.line
        assert stylizer.report.precision != "fp16"


def test_a_winner_that_does_not_start_gives_way_and_it_is_said(style: Bundle) -> None:
    remember(style, winner(backend="ort:migraphx"))
    with Stylizer.open(style, size=SIZE, threads=2) as stylizer:
        assert stylizer.report.backend in ("openvino", "ort")
        assert "chosen by measurement" not in stylizer.report.line
        [said] = [note for note in stylizer.report.degraded if "does not start" in note]
        assert "ort:migraphx in fp16 was fastest on 2026-11-21" in said


def test_another_machine_version_or_bundle_is_another_matter(
    style: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(style, winner())
    assert recall(style, SIZE, "rgb", 2) == winner()
    changed = replace(style, manifest=replace(style.manifest, version="2"))
    assert recall(changed, SIZE, "rgb", 2) is None
    assert recall(style, SIZE, "planes", 2) is None
    monkeypatch.setattr(machine, "versions", lambda: {"openvino": "1999.1"})
    assert recall(style, SIZE, "rgb", 2) is None
    assert remembered() == [replace(winner(), machine=remembered()[0].machine)]  # still there, to be told of


def test_a_damaged_file_is_as_good_as_none(style: Bundle) -> None:
    path = remember(style, winner())
    path.write_text("{}")
    assert recall(style, SIZE, "rgb", 2) is None
    path.write_bytes(b"\xff{")
    assert recall(style, SIZE, "rgb", 2) is None
    assert remembered() == []
    assert forget() == 1


def test_nothing_is_looked_up_where_nothing_was_measured(
    style: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winners, "fingerprint", lambda: pytest.fail("it reads files and versions"))
    assert recall(style, SIZE, "rgb", 2) is None
    assert not cache.exists()


def test_the_command_measures_remembers_lists_and_forgets(
    style: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(style.path)
    assert main(["bench", path, "--size", "64x48", "--seconds", "0.01", "--json", "--remember"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    ran = [line for line in lines if line["latency_ms"]]
    assert {"p50", "p95", "p99", "n"} <= ran[0]["latency_ms"].keys()
    assert ran[0]["shape"] == [48, 64, 3]
    assert ran[0]["golden"]["passed"] is True
    assert ran[0]["machine"]["processors"] >= 1
    [kept] = remembered()
    assert (kept.style, kept.size) == ("negative", SIZE)
    best = min(ran, key=lambda line: line["latency_ms"]["p50"])
    assert (kept.backend, kept.precision) == (best["backend"], best["precision"])
    main(["doctor"])
    assert "chosen by measurement" in capsys.readouterr().out
    assert main(["bench", "--forget"]) == 0
    assert remembered() == []


def test_the_table_is_for_people(style: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(style.path), "--size", "64x48", "--size", "48x48", "--seconds", "0.01"]) == 0
    said = capsys.readouterr().out
    assert "negative at 64x48, fastest first:" in said
    assert "negative at 48x48, fastest first:" in said
    assert "golden ok" in said
    assert "not run: " in said
    assert remembered() == []


@pytest.mark.parametrize(
    "arguments", [[], ["starry", "--seconds", "0"], ["starry", "--threads", "0"], ["starry", "--size", "big"]]
)
def test_what_cannot_be_measured_is_said(arguments: list[str]) -> None:
    assert main(["bench", *arguments]) == 2


def test_a_lone_file_has_nothing_to_be_proven_with(style: Bundle) -> None:
    with pytest.raises(BundleError, match="golden"):
        list(bench(Bundle.open(style.path / "model.onnx"), SIZE))


def test_the_shipped_style_is_measured_with_planes_where_it_has_them() -> None:
    style = Bundle.open(Path(bundles.__file__).parents[2] / "runtime/allaprima/styles/starry.prima")
    if not any(one.edges == "planes" for one in style.manifest.variants):
        pytest.skip("starry has no variant for planes")
    lines = [line for line in bench(style, SIZE, seconds=0.01) if line.edges == "planes"]
    assert any(line.golden for line in lines)
    planes = Planes.from_rgb(np.ascontiguousarray(bundles.ramp(48, 64)))
    with Stylizer.open(style, size=SIZE) as stylizer:
        assert stylizer(Frame(planes)).planes is not None


def test_cards_are_read_as_the_driver_lists_them(tmp_path: Path) -> None:
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0" / "information").write_text("Model: \t\t A card\nIRQ:   12\n")
    assert machine.cards(tmp_path) == ["A card"]
    assert machine.cards(tmp_path / "none") == []
