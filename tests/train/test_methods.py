"""Every method of the table: it trains, learns, resumes exactly, exports, and paints in the bundle as in torch.

The settings are those of the first recipe in recipes/ that uses the method, with small pictures and networks; so a
method is tested from the moment it is in the table, and one without a recipe fails.
"""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomlkit
import torch
from conftest import picture
from PIL import Image
from safetensors.torch import load_file

from allaprima_export.pipeline import export
from allaprima_train import loop
from allaprima_train.features import load_features
from allaprima_train.generators import GENERATORS
from allaprima_train.generators.controls import positions
from allaprima_train.loop import train
from allaprima_train.objectives import (
    OBJECTIVES,
    make_objective,
    objective_features,
    objective_streams,
)
from allaprima_train.recipe import Recipe, load_recipe, parse_recipe
from allaprima_train.run import Run
from allaprima_train.streams import batches

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
STEPS = 10


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`photos` with some grey, transparent and small pictures among them, and `answers` of the same names and sizes."""
    folder = tmp_path_factory.mktemp("sets")
    (folder / "photos").mkdir()
    (folder / "answers").mkdir()
    for number in range(8):
        height, width = (40, 50) if number == 7 else (96, 112)
        photo = Image.fromarray(picture(number, height, width))
        photo = photo.convert({1: "L", 2: "RGBA"}.get(number, "RGB"))
        photo.save(folder / "photos" / f"{number}.png")
        Image.fromarray(255 - picture(number, height, width)[::-1]).save(folder / "answers" / f"{number}.png")
    return folder


def small(method: str, sets: Path, *overrides: str) -> Recipe:
    """A recipe of the method on small sets: crops of 64 pixels, its smallest network."""
    source = next((path for path in RECIPES if load_recipe(path).method == method), None)
    assert source is not None, f"recipes/ has no recipe for the method {method}"
    table = tomllib.loads(source.read_text("utf-8"))
    chosen = load_recipe(source).generator
    _, sign, scale = chosen.size.partition("-")  # restorers enlarge by their size
    table["generator"] = {"network": chosen.network, "size": GENERATORS[chosen.network][1][0] + sign + scale}
    table["data"] = {
        "content": [str(sets / "photos")],
        "held_out": 2,
        "workers": 0,
        "crop": 64,
        "context": 16,
    }
    table["train"] |= {"steps": STEPS, "batch": 2, "warmup": 2, "learning_rate": 1e-3, "precision": "fp32"}
    table["train"] |= {"log_every": 1, "save_every": 5, "sample_every": STEPS}
    _shrink(table[method], sets)
    return parse_recipe(tomlkit.dumps(table), source.name, overrides)


def _shrink(settings: Any, sets: Path) -> None:
    for one in settings if isinstance(settings, list) else [settings]:
        if not isinstance(one, dict):
            continue
        for key, value in one.items():
            if key == "pictures":
                one[key] = [str(sets / "answers")]
            elif key == "style" and isinstance(value, str):
                one[key] = str(sets / "answers" / "0.png")
            elif key == "discriminator_width":
                one[key] = 8
            elif key in ("style_size", "short_side"):
                one[key] = 80
            else:
                _shrink(value, sets)


@pytest.fixture(scope="session")
def trained(
    sets: Path, features: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Recipe, Run]]:
    """Ten steps of a method, once for all tests of it."""
    done: dict[str, tuple[Recipe, Run]] = {}

    def run(method: str) -> tuple[Recipe, Run]:
        if method not in done:
            made = small(method, sets)
            done[method] = made, train(made, Run(tmp_path_factory.mktemp(method) / "run"), features=features)
        return done[method]

    return run


@pytest.mark.parametrize("method", OBJECTIVES)
def test_a_method_takes_ten_steps_and_every_loss_is_a_number_with_a_weight(method, trained, features) -> None:
    recipe, run = trained(method)
    lines = [json.loads(line) for line in run.log_file.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    seen = {key.removeprefix("loss/") for line in lines for key in line if key.startswith("loss/")}
    assert all(np.isfinite(line[key]) for line in lines for key in line)
    objective = make_objective(recipe, load_features(features))
    assert seen - {"total"} <= set(objective.weights)
    with Image.open(run.samples / f"step-{STEPS:06d}.png") as sheet:
        assert sheet.height == 320 * (2 + len(positions(objective.networks["generator"].controls)))


@pytest.mark.parametrize("method", OBJECTIVES)
def test_a_method_goes_on_exactly_where_it_was_interrupted(method, trained, features, tmp_path) -> None:
    recipe, whole = trained(method)
    parts = Run(tmp_path / "parts")
    train(recipe, parts, features=features, stop_at=5)
    torch.manual_seed(12345)  # whatever happened in between must not matter
    train(recipe, parts, features=features, resume=True)
    left, right = load_file(whole.checkpoint_file), load_file(parts.checkpoint_file)
    assert left.keys() == right.keys()
    assert {name for name in left if not torch.equal(left[name], right[name])} == set()


@pytest.mark.parametrize("method", OBJECTIVES)
def test_every_player_learns_on_a_fixed_batch(method, sets, features) -> None:
    """Each on its own, the others standing still: of two opponents not both can win."""
    recipe = small(method, sets, "train.learning_rate=5e-4")
    network = load_features(features) if objective_features(method) else None
    batch = loop.to_batch(next(batches(objective_streams(recipe), 2, 0, 1)), torch.device("cpu"))
    for player in make_objective(recipe, network).players:
        torch.manual_seed(0)
        objective = make_objective(recipe, network)
        optimiser = loop.State(objective, recipe.train, torch.device("cpu")).optimisers[player]
        sums = []
        for _ in range(8):
            for (
                name
            ) in objective.players:  # in turn, as in the loop: later ones look at what earlier ones painted
                terms = objective.terms(name, batch)
                if name == player:
                    terms.pop("r1", None)  # only at some steps
                    loss = sum(objective.weights[key] * term for key, term in terms.items())
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
                    sums.append(float(loss.detach()))
        assert np.mean(sums[-2:]) < np.mean(sums[:2]), (player, sums)


@pytest.mark.parametrize("method", OBJECTIVES)
def test_a_methods_generator_exports_and_paints_as_in_torch(method, trained, tmp_path) -> None:
    _, run = trained(method)
    exported = export(
        run.folder, tmp_path / "out.prima", variants=["fp32"]
    )  # raises where parity does not hold
    assert exported.judged["fp32"].parity
    assert exported.manifest.lineage.features.startswith(objective_features(method) or "none")
    others = [path.stem.removeprefix("weights_") for path in run.folder.glob("weights_*.safetensors")]
    for other in others:
        assert export(run.folder, tmp_path / f"{other}.prima", variants=["fp32"], direction=other).judged
