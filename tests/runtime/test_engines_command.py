"""`allaprima engines`, as users type it: with stand-ins for a card, and with TensorRT-RTX itself where it is here."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bundles
import pytest
from test_tensorrt import VERSIONS, Machine, own_cache

from allaprima.bundle import Bundle
from allaprima.cli import engines as command
from allaprima.cli import main
from allaprima.engines import Cache
from allaprima.engines.ahead import sample_for
from allaprima.onnx_floats import floats_inside

__all__ = ["own_cache"]  # a fixture for every test here: no engine of the user's is touched


@pytest.fixture
def styles_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`negative` is the only style of the user's; `starry` ships."""
    pytest.importorskip("onnxruntime")
    promise = bundles.manifest(variants=(bundles.variant("fp32"), bundles.variant("fp16")))
    bundles.make_bundle(tmp_path / "styles" / "negative.prima", promise=promise)
    monkeypatch.setenv("ALLAPRIMA_STYLES", str(tmp_path / "styles"))
    return tmp_path / "styles"


@pytest.fixture
def machine(styles_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(monkeypatch, VERSIONS["11"])
    from allaprima import backends, engines

    monkeypatch.setattr(engines, "build_apart", backends.build_apart)  # no process of its own
    return made


def engines(*words: str) -> int:
    return main(["engines", *words])


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def built(entry: Any, days: float) -> Any:
    from dataclasses import replace

    when = datetime.now(UTC) - timedelta(days=days)
    return replace(entry, built=when.strftime("%Y-%m-%dT%H:%M:%SZ"))


def test_build_list_verify_and_prune_go_together(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert engines("build", "negative", "--at", "56x40", "--at", "64x48", "--precision", "fp32") == 0
    assert "negative fp32, fp32 56x40, NVIDIA GeForce RTX 4090, tensorrt 11.4.0" in capsys.readouterr().err
    assert engines("list") == 0
    assert "ok       negative fp32, fp32 56x40" in capsys.readouterr().out
    assert all(entry.proof is None for entry in Cache())
    assert engines("verify", "--json") == 0
    answers = said(capsys)
    assert [one["why"][:22] for one in answers] == ["paints the golden pair"] * 2
    assert all(entry.proof is not None for entry in Cache())
    assert engines("prune") == 0
    assert "0 engines and 0 other files removed" in capsys.readouterr().out
    assert engines("prune", "--all", "--json") == 0
    assert len(said(capsys)["engines"]) == 2
    assert list(Cache().folder.iterdir()) == []


def test_a_range_is_one_engine_for_every_size_in_it(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    from allaprima import Stylizer

    assert engines("build", "negative", "--range", "32x32", "56x40", "96x96", "--precision", "fp32") == 0
    shapes = next(entry[1] for entry in machine.trt.log if entry[0] == "profile")
    assert shapes == {"image": ((1, 32, 32, 3), (1, 40, 56, 3), (1, 96, 96, 3))}
    machine.builds.clear()
    for size in ((40, 56), (33, 91), (96, 96)):
        with Stylizer.open("negative", backend="tensorrt", precision="fp32", size=size[::-1]) as stylizer:
            stylizer.paint(bundles.ramp(*size))
    assert machine.builds == []
    with Stylizer.open("negative", backend="tensorrt", precision="fp32", size=(97, 40)):
        assert machine.builds == ["negative fp32"]


def test_options_reach_the_builder(machine: Machine) -> None:
    words = ("--level", "5", "--workspace", "64", "--no-timing-cache")
    assert engines("build", "negative", "--at", "56x40", *words) == 0
    config = next(entry[1] for entry in machine.trt.log if entry[0] == "config")
    assert config.builder_optimization_level == 5
    assert ("workspace", 64 << 20) in machine.trt.log
    assert not any(entry[0] == "timing_cache" for entry in machine.trt.log)
    (entry,) = Cache()
    assert (entry.key.options.level, entry.key.options.workspace_mib) == (5, 64)


def test_verify_refuses_what_paints_something_else_and_rebuild_gives_it_another_chance(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert engines("build", "negative", "--at", "56x40") == 0
    Machine(monkeypatch, VERSIONS["11"], spoil=40)
    assert engines("verify") == 8
    printed = capsys.readouterr()
    assert "FAIL     negative fp16" in printed.out
    assert "E_ENGINE_INVALID" in printed.err
    assert engines("list") == 0
    assert "refuted  negative fp16" in capsys.readouterr().out
    Machine(monkeypatch, VERSIONS["11"])
    assert engines("build", "negative", "--at", "56x40", "--rebuild") == 0
    assert engines("verify") == 0


def test_a_damaged_engine_fails_the_check_and_is_gone(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert engines("build", "negative", "--at", "56x40") == 0
    file = next(Cache().folder.glob("*.engine"))
    file.write_bytes(file.read_bytes()[:-1])
    assert engines("verify") == 8
    assert "removed" in capsys.readouterr().out
    assert list(Cache()) == []


@pytest.mark.parametrize(
    ("change", "state", "why"),
    [
        ({"name": "NVIDIA L4"}, "ahead", "for NVIDIA GeForce RTX 4090; here is NVIDIA L4"),
        ({"driver": 13010}, "ahead", "for another driver"),
        ({"cards": 0}, "ahead", "there is no card here"),
    ],
)
def test_engines_for_another_card_are_told_kept_and_not_used(
    machine: Machine, capsys: pytest.CaptureFixture[str], change: dict[str, Any], state: str, why: str
) -> None:
    assert engines("build", "negative", "--at", "56x40") == 0
    for name, value in change.items():
        setattr(machine.bindings, name, value)
    assert engines("verify", "--json") == 0
    (one,) = said(capsys)
    assert one["state"] == state
    assert why in one["why"]
    assert engines("prune") == 0
    assert len(list(Cache())) == 1


def test_engines_of_another_version_or_of_long_ago_are_pruned(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert engines("build", "negative", "--at", "56x40") == 0
    (entry,) = Cache()
    Cache()._write(built(entry, days=40))
    assert engines("prune", "--older-than", "30", "--dry-run") == 0
    assert "1 engine and 0 other files would go" in capsys.readouterr().out
    assert len(list(Cache())) == 1
    assert engines("prune", "--older-than", "50") == 0
    assert len(list(Cache())) == 1
    Machine(monkeypatch, "11.5.0")
    assert engines("list") == 0
    assert "stale    negative fp16" in capsys.readouterr().out
    assert engines("prune") == 0
    assert list(Cache()) == []


def test_without_a_card_the_way_around_is_named(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.bindings.cards = 0
    assert engines("build", "negative", "--at", "56x40") == 6
    assert "the driver finds no card" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("build", "negative"), 2, "one of the arguments --at --range is required"),
        (("build", "negative", "--at", "56"), 2, "cannot read --at or --range 56"),
        (("build", "negative", "--range", "64x64", "32x32", "96x96"), 2, "have to grow"),
        (("build", "negative", "--at", "56x40", "--level", "9"), 2, "invalid choice"),
        (("build", "negative", "--at", "56x40", "--workspace", "-1"), 2, "--workspace"),
        (("build", "negative", "--at", "56x40", "--precision", "int8"), 2, "no variant for int8"),
        (("build", "no-such-style", "--at", "56x40"), 2, "there is no style"),
        (("prune", "--older-than", "soon"), 2, "--older-than"),
        ((), 2, "VERB"),
    ],
)
def test_what_is_not_understood_is_said(
    machine: Machine, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], status: int, text: str
) -> None:
    assert engines(*words) == status
    assert text in capsys.readouterr().err


def test_a_sample_has_every_input_in_its_shape_and_type(styles_folder: Path) -> None:
    bundle = Bundle.open(styles_folder / "negative.prima")
    sample = sample_for(bundle, bundle.variant("fp32"), (40, 56))
    assert {name: (array.shape, str(array.dtype)) for name, array in sample.items()} == {
        "image": ((1, 40, 56, 3), "uint8"),
        "strength": ((1,), "float32"),
    }


def test_rtx_builds_for_cards_that_are_not_here(
    styles_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed: pip install 'allaprima[rtx]'")
    assert engines("build", "negative", "--at", "56x40", "--for", "ada", "--for", "sm80", "--json") == 0
    assert [one["line"].split(", ")[1] for one in said(capsys)] == ["sm89", "sm80"]
    assert engines("list", "--json") == 0
    assert {one["state"] for one in said(capsys)} == {"ahead"}
    assert engines("verify") == 0
    assert engines("build", "negative", "--at", "56x40", "--for", "hopper") == 2
    assert "no target 'hopper'" in capsys.readouterr().err


def test_the_model_for_other_programs_is_what_our_own_builder_parses(
    styles_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "negative.onnx"
    assert engines("model", "negative", "--variant", "fp32", "--out", str(out)) == 0
    bundle = Bundle.open(styles_folder / "negative.prima")
    assert out.read_bytes() == floats_inside(bundle.read("model.onnx"))
    assert engines("model", "negative", "--variant", "fp32", "--out", str(out)) == 4
    assert "E_OUTPUT_EXISTS" in capsys.readouterr().err
    assert engines("model", "negative", "--variant", "fp32", "--out", str(out), "--overwrite") == 0
    assert engines("model", "negative", "--variant", "fp64", "--out", str(out)) == 2


def test_the_command_is_cheap_to_import() -> None:
    assert command.HELP
    assert not hasattr(command, "Cache")
