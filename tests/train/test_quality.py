"""Figures against arithmetic; what they decide: which snapshot ships, when it stops, how weights are steered."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawings import picture
from PIL import Image
from safetensors.torch import load_file, save_file

from allaprima.errors import UsageError
from allaprima_train import judge, quality
from allaprima_train.features import load_features
from allaprima_train.judge import Evaluation, Judge, rule
from allaprima_train.loop import train
from allaprima_train.recipe import PictureSet, Recipe
from allaprima_train.run import Run
from allaprima_train.tables import Quality

Recipes = Callable[..., Recipe]

EVERY_TWO = ("quality.every=2", "quality.pictures=1", "quality.side=96")


def scene() -> np.ndarray:
    """A picture with edges: (128, 160, 3) uint8."""
    image = picture(3, 128, 160)
    image[30:90, 40:120] = 255 - image[30:90, 40:120]
    return image


def test_a_picture_is_at_no_distance_from_itself(features: Path) -> None:
    net, x = load_features(features), quality.pixels(scene())
    seen = quality.see(net, x)
    assert quality.structure_distance(seen, seen) == 0
    assert quality.structure_distance(quality.see(net, x.rot90(2, (2, 3))), seen) > 0.5
    assert quality.edge_recall(scene(), scene()) == 1
    target = quality.StyleTarget(net, [Image.fromarray(scene()).resize((160, 128))])
    same = quality.pixels(np.asarray(Image.fromarray(scene()).resize((160, 128))))
    assert quality.style_distance([quality.see(net, same).grams], target) < 1e-6
    assert quality.style_distance([quality.see(net, 1 - same).grams], target) > 1e-3


def test_edges_count_where_they_are_and_not_how_strong() -> None:
    faint = (scene().astype(float) * 0.4 + 90).astype(np.uint8)
    assert quality.edge_recall(faint, scene()) > 0.9
    assert quality.edge_recall(np.roll(scene(), 2, axis=1), scene()) > 0.8  # within reach
    assert quality.edge_recall(np.rot90(scene(), 2).copy(), scene()) < 0.6


def test_gradients_are_compared_by_where_they_are_strong() -> None:
    assert quality.gradient_correlation(scene(), scene()) == pytest.approx(1, abs=1e-5)
    assert quality.gradient_correlation(255 - scene() // 2, scene()) > 0.99
    assert quality.gradient_correlation(np.rot90(scene(), 2).copy(), scene()) < 0.5
    assert quality.gradient_correlation(np.full_like(scene(), 7), scene()) == 0


def test_a_painter_that_does_nothing_is_as_steady_as_its_source() -> None:
    assert quality.flicker(lambda image: image, scene()) == pytest.approx(1, abs=0.1)
    assert quality.flicker(lambda image: image // 2, scene()) == pytest.approx(0.5, abs=0.1)
    assert quality.drift(lambda image: image, scene()) == 0


def test_strokes_that_stick_to_the_screen_drift() -> None:
    stripes = (20 * (np.arange(200) % 8 < 4))[None, :200, None].astype(np.uint8)

    def stuck(image: np.ndarray) -> np.ndarray:
        return np.asarray(image // 2 + stripes[:, : image.shape[1]], np.uint8)

    assert quality.drift(stuck, scene()) > 10


def figures(**given: float) -> dict[str, float]:
    return {"style_distance": 1.0, "structure_distance": 0.3, "edge_recall": 0.8, **given}


@pytest.fixture
def judged() -> Callable[..., Callable[..., Evaluation]]:
    """`judged(settings)(figures)`: a judge that has measured; it remembers from call to call."""

    def make(**settings: Any) -> Callable[..., Evaluation]:
        one = object.__new__(Judge)
        one.settings = Quality(every=1, **settings)  # its pictures and feature network are not asked
        factors: dict[str, float] = {}
        remembered: dict[str, Any] = {}

        def judge_one(**given: float) -> Evaluation:
            found = one.judge(1, figures(**given), factors, remembered)
            return replace(found, steered={**found.steered, "now": (0, factors.get("structure", 1.0))})

        return judge_one

    return make


def test_the_best_snapshot_keeps_its_bounds_and_is_best_in_the_goal(
    judged: Callable[..., Callable[..., Evaluation]],
) -> None:
    one = judged(most={"structure_distance": 0.4})
    assert one(structure_distance=0.8, style_distance=0.1).best  # the first
    assert one(structure_distance=0.5, style_distance=0.9).best  # nearer to the bound
    assert one(structure_distance=0.4, style_distance=0.9).best  # keeps it
    assert not one(structure_distance=0.1, style_distance=1.0).best
    assert not one(structure_distance=0.41, style_distance=0.1).best
    assert one(structure_distance=0.2, style_distance=0.8).best


def test_a_goal_that_is_better_when_higher(judged: Callable[..., Callable[..., Evaluation]]) -> None:
    one = judged(goal="edge_recall")
    assert one(edge_recall=0.5).best
    assert one(edge_recall=0.6).best
    assert not one(edge_recall=0.6).best


def test_patience_counts_evaluations_without_a_better_one(
    judged: Callable[..., Callable[..., Evaluation]],
) -> None:
    one = judged(patience=2)
    found = [one(style_distance=value).stop for value in (1.0, 1.1, 0.9, 0.95, 0.9)]
    assert found == [False, False, False, False, True]


def test_a_weight_rises_while_its_bound_is_broken_and_falls_with_a_tenth_to_spare(
    judged: Callable[..., Callable[..., Evaluation]],
) -> None:
    one = judged(most={"structure_distance": 0.4}, steer={"structure": "structure_distance"}, steer_limit=1.5)
    factors = [one(structure_distance=value).steered["now"][1] for value in (0.5, 0.5, 0.39, 0.36, 0.36, 0.1)]
    assert factors == pytest.approx([1.25, 1.5, 1.5, 1.2, 1.0, 1.0])


def lines(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.log_file.read_text().splitlines()]


def evaluations(run: Run) -> list[dict[str, Any]]:
    return [line for line in lines(run) if "quality/best" in line]


def test_the_best_snapshot_ships_and_the_log_says_which(
    recipe: Recipes, features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, goal = Judge.measure, iter((10.0, 30.0, 20.0))
    monkeypatch.setattr(Judge, "measure", lambda self, net: {**real(self, net), "psnr_db": next(goal)})
    made = recipe(*EVERY_TWO, "quality.goal='psnr_db'", "train.steps=6")
    run = train(made, Run(tmp_path / "run"), features=features)
    found = evaluations(run)
    measures = ("psnr_db", "ssim", "structure_distance", "edge_recall", "style_distance", "drift", "flicker")
    assert set(found[0]) == {
        "step",
        "quality/shortfall",
        "quality/best",
        *(f"quality/{name}" for name in measures),
    }
    assert [(line["step"], line["quality/best"]) for line in found] == [(2, True), (4, True), (6, False)]
    assert run.generator()[1]["step"] == "4"
    assert run.load_checkpoint()[1]["step"] == 6


def test_an_answer_that_is_not_the_photograph_is_not_measured_as_if_it_were(
    recipe: Callable[..., Recipe], features: Path
) -> None:
    made = recipe("quality.every=2", "quality.goal='psnr_db'")
    for method in ("pix2pix", "distill", "mixture"):
        with pytest.raises(UsageError, match="it would be against the photograph, and its answers are"):
            Judge(replace(made, method=method), load_features(features), [])


def test_the_rule_of_steering_is_told_in_words() -> None:
    chosen = Quality(
        every=10, most={"structure_distance": 0.4}, steer={"structure": "structure_distance"}, steer_by=1.5
    )
    assert rule(chosen) == (
        "steering: each evaluation multiplies the weight of structure while structure_distance is over 0.4 by 1.5, "
        "to 8 times at most, and divides it again once there is a tenth to spare"
    )


def test_steering_multiplies_the_weight_in_the_loss_and_resumes_exactly(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    steer = (
        *EVERY_TWO,
        "quality.most={structure_distance=0.001}",
        "quality.steer={structure='structure_distance'}",
        "train.steps=6",
    )
    made = recipe(*steer)
    whole = train(made, Run(tmp_path / "whole"), features=features)
    assert [line["weight/structure"] for line in evaluations(whole)] == pytest.approx(
        [1.25, 1.5625, 1.953125]
    )
    losses = {line["step"]: line for line in lines(whole) if "loss/total" in line}
    weights = {"structure": 1.25, "style": 4, "variation": 0.05, "shift": 10, "grid": 20, "border": 10}
    expected = sum(weights[name] * losses[3][f"loss/{name}"] for name in weights)
    assert losses[3]["loss/total"] == pytest.approx(expected, rel=1e-4)

    parts = Run(tmp_path / "parts")
    train(made, parts, features=features, stop_at=3)  # between two evaluations
    train(made, parts, features=features, resume=True)
    left, right = load_file(whole.checkpoint_file), load_file(parts.checkpoint_file)
    assert {name for name in left if not torch.equal(left[name], right[name])} == set()
    without_rate = [
        [{k: v for k, v in line.items() if k != "pictures_per_s"} for line in lines(run)]
        for run in (whole, parts)
    ]
    assert without_rate[0] == without_rate[1]


def test_a_best_snapshot_by_other_rules_is_none_after_a_resume(
    recipe: Recipes, features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Judge, "measure", lambda self, generator: {"psnr_db": 20.0, "style_distance": 0.4})
    steered = (
        "quality.most={style_distance=0.1}",
        "quality.steer={style='style_distance'}",
        "quality.steer_by=4.0",
    )
    first = recipe(*EVERY_TWO, "train.steps=6", "quality.goal='psnr_db'", *steered)
    run = train(first, Run(tmp_path / "run"), features=features, stop_at=3)
    assert evaluations(run)[-1]["weight/style"] == 4
    other = recipe(*EVERY_TWO, "train.steps=6", "quality.goal='style_distance'", "quality.patience=1")
    train(other, run, features=features, resume=True, may_change=["quality"])
    found = evaluations(run)
    assert [(line["step"], line["quality/best"]) for line in found] == [(2, True), (4, True), (6, False)]
    assert "weight/style" not in found[-1]
    assert run.load_checkpoint()[1]["factors"] == {}
    more = recipe(*EVERY_TWO, "train.steps=8", "quality.goal='style_distance'", "quality.patience=2")
    train(more, run, features=features, resume=True, may_change=["quality", "train"])
    assert not evaluations(run)[-1]["quality/best"]  # of the same rules it is still the first
    other_eyes = tmp_path / features.name
    save_file({name: t * 0.5 for name, t in load_file(features).items()}, other_eyes)
    longer = recipe(*EVERY_TWO, "train.steps=10", "quality.goal='style_distance'", "quality.patience=2")
    train(longer, run, features=other_eyes, resume=True, may_change=["train"])
    assert evaluations(run)[-1]["quality/best"]


def test_a_training_without_progress_stops_early_and_stays_stopped(
    recipe: Recipes, features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Judge, "measure", lambda self, generator: {"psnr_db": 20.0})
    made = recipe(*EVERY_TWO, "quality.goal='psnr_db'", "quality.patience=1")
    run = train(made, Run(tmp_path / "run"), features=features)
    assert run.load_checkpoint()[1]["step"] == 4
    assert run.generator()[1]["step"] == "2"
    assert lines(run)[-1] == {"step": 4, "event": "stopped: 1 evaluations without a better snapshot"}
    assert (run.samples / "step-000004.png").is_file()
    train(made, run, features=features, resume=True)
    assert run.load_checkpoint()[1]["step"] == 4


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("quality.steer={structure='flicker'}",), "steer needs a bound for flicker"),
        (
            ("quality.most={flicker=1}", "quality.steer={content='flicker'}"),
            "no loss term 'content'.*structure",
        ),
        (("quality.goal='beauty'",), "psnr_db"),
    ],
)
def test_rules_that_cannot_hold_are_refused_before_training(
    recipe: Recipes, features: Path, tmp_path: Path, settings: tuple[str, ...], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        train(recipe(*EVERY_TWO, *settings), Run(tmp_path / "run"), features=features)
    assert not (tmp_path / "run").exists()


def test_bounds_without_evaluations_are_refused(recipe: Recipes) -> None:
    with pytest.raises(UsageError, match="need evaluations"):
        recipe("quality.patience=3")


def test_the_style_is_what_the_method_names_or_what_the_table_says(recipe: Recipes, photos: Path) -> None:
    assert judge.style_of(recipe()) == PictureSet((str(photos.parent / "style.png"),))
    assert judge.style_of(recipe(f"quality.style=['{photos}']")) == PictureSet((str(photos),))
    as_a_set = recipe(f"quality.style={{pictures=['{photos}'], grey=true}}")
    assert judge.style_of(as_a_set) == PictureSet((str(photos),), grey=True)
