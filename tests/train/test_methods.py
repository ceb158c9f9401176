"""Every method of the table: it trains, learns, resumes exactly, exports, and paints in the bundle as in torch.

The settings are those of the recipe called like the method, or of the first that uses it, with small pictures and
networks; so a method is tested from the moment it is in the table, and one without a recipe fails.
"""

import json
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import tomlkit
import torch
from drawings import picture
from PIL import Image
from safetensors.torch import load_file

from allaprima.errors import InputError, UsageError
from allaprima_export.pipeline import export
from allaprima_train.augment import Augment
from allaprima_train.features import load_features
from allaprima_train.generators import GENERATORS, make_generator
from allaprima_train.generators.controls import positions
from allaprima_train.generators.domains import DomainMobile
from allaprima_train.judge import Judge
from allaprima_train.loop import to_batch, train
from allaprima_train.objectives import (
    OBJECTIVES,
    beside,
    make_objective,
    objective_features,
    objective_streams,
)
from allaprima_train.objectives.beside import with_losses_beside
from allaprima_train.recipe import Recipe, load_recipe, parse_recipe
from allaprima_train.run import Run
from allaprima_train.state import State
from allaprima_train.streams import batches, unreadable

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
STEPS = 10


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`photos` with some grey, transparent and small pictures among them, `answers` of the same names and sizes, and
    two `runs` to learn from."""
    folder = tmp_path_factory.mktemp("sets")
    (folder / "photos").mkdir()
    (folder / "answers").mkdir()
    for number in range(8):
        height, width = (40, 50) if number == 7 else (96, 112)
        photo = Image.fromarray(picture(number, height, width))
        photo = photo.convert({1: "L", 2: "RGBA"}.get(number, "RGB"))
        photo.save(folder / "photos" / f"{number}.png")
        Image.fromarray(255 - picture(number, height, width)[::-1]).save(folder / "answers" / f"{number}.png")
    for number, name in enumerate(("warm", "cold")):
        torch.manual_seed(number)
        run = Run(folder / "runs" / name)
        run.begin(load_recipe(RECIPES[0].with_name("starry.toml"), ["generator.size=nano-fine"]))
        run.save_weights(make_generator("mobile", "nano-fine"), {"step": "0"})
    return folder


def small(method: str, sets: Path, *overrides: str) -> Recipe:
    """A recipe of the method on small sets: crops of 64 pixels, its smallest network."""
    own_first = sorted(RECIPES, key=lambda path: path.stem != method)
    source = next((path for path in own_first if load_recipe(path).method == method), None)
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
    table.pop("transfer", None)  # the run that a style begins with is not here
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
            elif key == "experts":
                one[key] = [str(run) for run in sorted((sets / "runs").iterdir())]
            elif key == "discriminator_width":
                one[key] = 8
            elif key in ("style_size", "short_side"):
                one[key] = 80
            elif key in ("apart", "warm_steps"):
                one[key] = (
                    3  # so that a training of ten steps, its resume and its export see what comes after
                )
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
        shipped = objective.networks["generator"]
        assert sheet.height == 320 * (shipped.pictures + 1 + len(positions(shipped.controls)))


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
    phase = {
        "content": ["content.apart=0"],
        "doubletail": ["doubletail.warm_steps=0"],
    }  # the last one, throughout
    recipe = small(method, sets, "train.learning_rate=5e-4", *phase.get(method, []))
    network = load_features(features) if objective_features(method) else None
    batch = to_batch(next(batches(objective_streams(recipe), 2, 0, 1)), torch.device("cpu"))
    for player in make_objective(recipe, network).players:
        torch.manual_seed(0)
        objective = make_objective(recipe, network)
        optimiser = State(objective, recipe.train, torch.device("cpu")).optimisers[player]
        sums = []
        for _ in range(8):
            torch.manual_seed(1)  # the same codes, domains and places in every step
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
        run.folder, tmp_path / "out.prima", variants=["fp32"], planes=()
    )  # raises where parity does not hold
    assert exported.judged["fp32"].parity
    assert exported.manifest.lineage.features.startswith(objective_features(method) or "none")
    others = [path.stem.removeprefix("weights_") for path in run.folder.glob("weights_*.safetensors")]
    for other in others:
        exported = export(
            run.folder, tmp_path / f"{other}.prima", variants=["fp32"], planes=(), direction=other
        )
        assert exported.judged["fp32"].parity
        assert exported.manifest.name.endswith(f"-{other}")


@pytest.mark.parametrize("method", ["stargan", "stylegan", "doubletail", "cut"])
def test_a_method_of_mobiles_trains_the_sizes_with_fine_lines_too(method, sets, features) -> None:
    """Their networks have ends of their own: these have to learn, and what they learned has to be in what is folded."""
    recipe = small(method, sets, "generator.size=nano-fine")
    objective = make_objective(recipe, load_features(features) if objective_features(method) else None)
    generator = objective.networks["generator"]
    optimiser = State(objective, recipe.train, torch.device("cpu")).optimisers["generator"]
    batch = to_batch(next(batches(objective_streams(recipe), 2, 0, 1)), torch.device("cpu"))
    begun = {name: weight.clone() for name, weight in generator.named_parameters() if ".fine." in name}
    for _ in range(3):
        sum(objective.terms("generator", batch).values()).backward()
        optimiser.step()
    learned = {
        name for name, weight in generator.named_parameters() if name in begun and weight.grad is not None
    }
    assert learned
    assert all(not torch.equal(begun[name], generator.get_parameter(name)) for name in learned)
    x = torch.rand(1, 3, 64, 64)
    controls = [torch.ones(1, *control.shape) for control in generator.controls]
    with torch.no_grad():
        assert torch.allclose(generator.eval().folded()(x, *controls), generator(x, *controls), atol=1e-4)


def test_a_discriminator_sees_varied_pictures_where_the_recipe_says_so(sets) -> None:
    plain, varied = (
        make_objective(small("cut", sets, f"augment.discriminator={policy}"), None).networks["discriminator"]
        for policy in ("[]", "['translation']")
    )
    varied.load_state_dict(plain.state_dict())
    x = torch.rand(2, 3, 64, 64)
    torch.manual_seed(1)
    assert torch.equal(plain(x)[-1], plain(x)[-1])
    assert not torch.equal(plain(x)[-1], varied(x)[-1])
    with pytest.raises(UsageError, match="does not go with the method 'pix2pix'"):
        make_objective(small("pix2pix", sets, "augment.discriminator=['colour']"), None)


def test_a_telephones_photograph_is_paired_with_its_upright_answer(sets, tmp_path) -> None:
    shutil.copytree(sets / "answers", tmp_path / "answers")
    shutil.copytree(sets / "photos", tmp_path / "photos")
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side
    for path in sorted((tmp_path / "photos").iterdir()):
        with Image.open(path) as photo:
            lying = photo.convert("RGB").rotate(90, expand=True)
        path.unlink()
        lying.save(path.with_suffix(".png"), exif=exif)
    chosen = [
        f"{key}=['{tmp_path / name}']"
        for key, name in (("data.content", "photos"), ("pix2pix.target.pictures", "answers"))
    ]
    pairs = objective_streams(small("pix2pix", sets, *chosen))
    assert pairs["content"][0].shape == pairs["target"][0].shape
    for path in (tmp_path / "photos").iterdir():  # of its answer's size as it lies, and not as it is read
        with Image.open(path) as photo:
            upright = photo.rotate(270, expand=True)
        upright.save(path, exif=exif)
    with pytest.raises(InputError, match=r"has no pair - it is 96x112 and .* is 112x96"):
        objective_streams(small("pix2pix", sets, *chosen))


@pytest.mark.parametrize(
    ("method", "augment", "words"),
    [
        ("cut", "augment.streams=['stile']", r"\[augment\] streams cannot be stile; did you mean 'style'"),
        ("perceptual", "augment.discriminator=['colour']", "has no discriminator"),
        (
            "pix2pix",
            "augment.streams=['content', 'target']",
            r"cannot be target - of the method pix2pix can be varied: content - .* is varied as it is",
        ),
        ("fuse", "augment.streams=['pictures']", "cannot be pictures - .* is varied as it is"),
        ("stargan", "augment.streams=['style', 'domain']", "cannot be domain - .* varied: content, style$"),
        ("perceptual", "augment.streams=['style']", "cannot be style - .* varied: content$"),
    ],
)
def test_an_augmentation_that_makes_no_sense_is_refused(
    method, augment, words, sets, features, tmp_path
) -> None:
    with pytest.raises(UsageError, match=words):
        train(small(method, sets, augment), Run(tmp_path / "run"), features=features)


def test_several_pictures_are_varied_as_what_is_wanted_of_them(sets) -> None:
    recipe = small("fuse", sets, "augment.rotation=10", "augment.brightness=0.3")
    batch = to_batch(next(batches(objective_streams(recipe), 2, 0, 1)), torch.device("cpu"))
    same = {**batch, "pictures": batch["target"][:, None].expand(-1, 2, -1, -1, -1)}
    varied = Augment(recipe.augment)(same)
    assert (varied["target"] - batch["target"]).abs().mean() > 0.02
    for one in varied["pictures"].unbind(1):
        assert torch.allclose(one, varied["target"], atol=1e-6)


def test_style_codes_train_steady_and_export(sets, features, tmp_path) -> None:
    """StarGAN v2's: several paintings of a domain by a code. Losses beside the method see all domains in turn."""
    recipe = small("stargan", sets, "stargan.code=4", "train.steps=3", "temporal.noise_weight=1")
    run = train(recipe, Run(tmp_path / "run"), features=features)
    lines = [json.loads(line) for line in run.log_file.read_text().splitlines()]
    assert all(np.isfinite(line["loss/temporal_noise"]) for line in lines)
    exported = export(run.folder, tmp_path / "out.prima", variants=["fp32"], planes=())
    assert exported.judged["fp32"].parity
    assert len(exported.manifest.controls) == 3  # strength, domain, code


def test_losses_beside_a_method_see_every_domain_and_the_default(sets, features, monkeypatch) -> None:
    recipe = small("stargan", sets, "temporal.noise_weight=1")
    network = load_features(features) if objective_features("stargan") else None
    objective = with_losses_beside(recipe, make_objective(recipe, network))
    generator, seen = objective.networks["generator"], set()

    def paint(network, x, controls):
        seen.add(tuple(controls[0].tolist()))
        return plain(network, x, controls=controls)

    plain = beside.paint
    monkeypatch.setattr(beside, "paint", paint)
    given = torch.rand(1, 3, 96, 96)
    torch.manual_seed(0)
    for _ in range(40):
        objective._beside(given)
    control = generator.controls[0]
    wanted = {
        values[control.name] for values in positions(generator.controls).values() if control.name in values
    }
    assert seen == {control.initial, *wanted}


PATCHES = ("patches=2", "patch_size=64")


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param((*PATCHES, "follow=nearest"), id="nearest patch"),
        pytest.param((*PATCHES, "follow=drawn"), id="drawn patch"),
        pytest.param(("adversarial_weight=1.0", "discriminator_width=8"), id="adversary"),
        pytest.param(
            ("gram_of=batch", "lightness_weight=2.0", "halo_weight=5.0"), id="batch, lightness, halo"
        ),
    ],
)
def test_ways_of_style_train_and_resume_exactly(settings, sets, features, tmp_path) -> None:
    """The adversary's squares are larger here than the style's picture of 80 pixels."""
    chosen = (f"perceptual.{setting}" for setting in settings)
    recipe = small("perceptual", sets, "data.crop=96", "train.steps=2", "train.save_every=1", *chosen)
    whole, parts = train(recipe, Run(tmp_path / "whole"), features=features), Run(tmp_path / "parts")
    train(recipe, parts, features=features, stop_at=1)
    train(recipe, parts, features=features, resume=True)
    left, right = load_file(whole.checkpoint_file), load_file(parts.checkpoint_file)
    assert {name for name in left if not torch.equal(left[name], right[name])} == set()


def test_a_batch_has_the_styles_grams_where_its_pictures_need_not(sets, features) -> None:
    network, found = load_features(features), {}
    for gram_of in ("picture", "batch"):
        recipe = small("perceptual", sets, f"perceptual.gram_of={gram_of}")
        torch.manual_seed(3)
        objective = make_objective(recipe, network)
        batch = to_batch(next(batches(objective_streams(recipe), 2, 0, 1)), torch.device("cpu"))
        twice = {"content": batch["content"][:1].repeat(2, 1, 1, 1)}
        with torch.no_grad():
            found[gram_of] = [float(objective.terms("generator", one)["style"]) for one in (batch, twice)]
    (each, each_same), (together, together_same) = found["picture"], found["batch"]
    assert together < 0.999 * each  # |mean of Grams - G*| is at most the mean of |Gram - G*|
    assert together_same == pytest.approx(each_same, rel=1e-4)


def test_an_adversary_beside_grams_learns_to_tell_and_is_not_there_unasked(sets, features) -> None:
    network = load_features(features)
    recipe = small(
        "perceptual", sets, "perceptual.adversarial_weight=1.0", "perceptual.discriminator_width=8"
    )
    objective = make_objective(recipe, network)
    batch = to_batch(next(batches(objective_streams(recipe), 2, 0, 1)), torch.device("cpu"))
    terms = objective.terms("generator", batch)
    assert terms["adversarial"].requires_grad
    optimiser = torch.optim.Adam(objective.players["discriminator"].parameters(), 1e-3)
    told = []
    for _ in range(8):
        (loss,) = objective.terms("discriminator", batch).values()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        told.append(float(loss.detach()))
    assert told[-1] < told[0] / 2
    assert list(make_objective(small("perceptual", sets), network).players) == ["generator"]


def test_pairs_that_are_none_are_refused_before_training(sets, tmp_path) -> None:
    answers = tmp_path / "answers"
    shutil.copytree(sets / "answers", answers)
    recipe = small("pix2pix", sets, f"pix2pix.target.pictures=['{answers}']")
    pairs = objective_streams(recipe)
    photo, answer = (pairs[name][3] for name in ("content", "target"))
    assert photo.shape == answer.shape
    shutil.copy(answers / "1.png", answers / "1.jpg")
    (answers / "1.jpg").rename(answers / "1.jpeg")
    with pytest.raises(InputError, match="it has 2 answers of that name"):
        objective_streams(recipe)
    (answers / "1.jpeg").unlink()
    whole = (answers / "2.png").read_bytes()
    (answers / "2.png").write_text("no picture")
    with pytest.raises(InputError, match="2.png has no pair - cannot identify"):
        objective_streams(recipe)
    (answers / "2.png").write_bytes(whole)
    Image.new("RGB", (30, 40)).save(answers / "1.png")
    with pytest.raises(InputError, match=r"1\.png has no pair - it is 112x96 and .* is 30x40"):
        objective_streams(recipe)
    (answers / "1.png").unlink()
    with pytest.raises(InputError, match="it has 0 answers of that name") as caught:
        objective_streams(recipe)
    assert caught.value.code == "E_DATA_PAIRS"


@pytest.mark.parametrize("spoiled", ["photos", "same"])
def test_a_pair_of_which_one_is_cut_off_is_skipped_both_and_named(spoiled, sets, tmp_path) -> None:
    for name in ("photos", "same"):
        (tmp_path / name).mkdir()
        for photo in (sets / "photos").iterdir():
            Image.open(photo).convert("RGB").save(tmp_path / name / f"{photo.stem}.jpg")
    recipe = small(
        "pix2pix",
        sets,
        f"data.content=['{tmp_path / 'photos'}']",
        f"pix2pix.target.pictures=['{tmp_path / 'same'}']",
    )
    first = objective_streams(recipe)["content"].pictures[0].name
    file = tmp_path / spoiled / first
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])  # the header is whole
    streams = objective_streams(recipe)
    for number in range(2 * len(streams["content"].pictures)):
        assert torch.equal(streams["content"][number], streams["target"][number])
    assert {path.name for path in unreadable(streams)} == {first}


def test_a_pair_is_cut_in_the_same_place_and_mirrored_alike(sets, tmp_path) -> None:
    shutil.copytree(sets / "photos", tmp_path / "same")
    recipe = small("pix2pix", sets, f"pix2pix.target.pictures=['{tmp_path / 'same'}']")
    streams = objective_streams(recipe)
    for number in range(9):
        assert torch.equal(streams["content"][number], streams["target"][number])


def test_a_set_without_pictures_names_the_setting(sets, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    for method, setting in (
        ("cut", "cut.style"),
        ("cyclegan", "cyclegan.style"),
        ("pix2pix", "pix2pix.target"),
    ):
        recipe = small(method, sets, f"{setting}.pictures=['{tmp_path / 'empty'}']")
        with pytest.raises(InputError, match="it has no pictures in it") as caught:
            objective_streams(recipe)
        assert f"[{setting}] pictures" in caught.value.next


def test_sets_of_unequal_size_count_alike(sets, tmp_path) -> None:
    """One card against eight: every batch has as many of each."""
    folders = {"few": tmp_path / "few", "many": tmp_path / "many"}
    for count, (name, folder) in zip((1, 8), folders.items(), strict=True):
        folder.mkdir()
        for number in range(count):
            Image.new("RGB", (80, 80), (255, 0, 0) if name == "few" else (0, 0, 255)).save(
                folder / f"{number}.png"
            )
    recipe = small("stargan", sets)
    table = [
        replace(domain, pictures=(str(folder),), grey=False)
        for domain, folder in zip(
            recipe.objective.domains, [folders["few"], folders["many"], folders["many"]], strict=True
        )
    ]
    streams = objective_streams(replace(recipe, objective=replace(recipe.objective, domains=tuple(table))))
    for number in range(12):
        red, _, blue = streams["style"][number].float().mean((1, 2))
        assert int(streams["domain"][number]) == number % 3
        assert (red > blue) == (number % 3 == 0)


def test_what_is_judged_is_every_domain_and_each_by_its_own_set(sets, features, tmp_path) -> None:
    """Not the first alone: a snapshot that spoiled the second would ship."""
    for name, colour in (("red", (220, 30, 30)), ("blue", (30, 30, 220))):
        (tmp_path / name).mkdir()
        Image.new("RGB", (160, 160), colour).save(tmp_path / name / "0.png")
    recipe = small("stargan", sets, "quality.every=5", "quality.pictures=1", "quality.side=96")
    few = [
        replace(domain, name=name, pictures=(str(tmp_path / name),), grey=False, stretch=False)
        for domain, name in zip(recipe.objective.domains, ("red", "blue"), strict=False)
    ]
    recipe = replace(recipe, objective=replace(recipe.objective, domains=tuple(few)))
    judge = Judge(recipe, load_features(features), sorted((sets / "photos").glob("*.png"))[:1])
    torch.manual_seed(0)
    generator = cast(DomainMobile, make_objective(recipe, None).networks["generator"])
    before = judge.measure(generator)
    found = []
    for domain in range(3):  # red, blue, the photograph
        with torch.no_grad():
            generator.domains[domain] += 0.5
            found.append(judge.measure(generator))
            generator.domains[domain] -= 0.5
    assert all(one["structure_distance"] != before["structure_distance"] for one in found)
    assert found[0]["style_distance"] != before["style_distance"]
    assert found[1]["style_distance"] != before["style_distance"]
    assert (
        found[2]["style_distance"] == before["style_distance"]
    )  # what is given back has no style to be near to


def test_grey_and_trim_are_of_the_set(sets, tmp_path) -> None:
    framed = np.zeros((100, 100, 3), np.uint8)
    framed[..., 0] = 255  # a red frame
    framed[10:80, 10:90] = (0, 120, 240)
    Image.fromarray(framed).save(tmp_path / "framed.png")
    crop = lambda *more: objective_streams(  # noqa: E731 - one expression
        small("cut", sets, f"cut.style.pictures=['{tmp_path / 'framed.png'}']", *more)
    )["style"][0]
    trimmed = crop("cut.style.trim=[0.12, 0.12, 0.22, 0.12]")
    assert torch.equal(trimmed.flatten(1).unique(dim=1), torch.tensor([[0], [120], [240]], dtype=torch.uint8))
    grey = crop("cut.style.grey=true")
    assert torch.equal(grey[0], grey[2])
    with pytest.raises(UsageError, match="leaves nothing"):
        small("cut", sets, "cut.style.trim=[0.5, 0, 0.5, 0]")


def test_stretch_makes_ink_on_dark_silk_ink_on_paper(sets, tmp_path) -> None:
    silk = np.full((100, 100, 3), (120, 100, 80), np.uint8)
    silk[40:60] = (70, 50, 30)  # a stroke
    silk[:10], silk[-10:] = 0, 255  # a mount that is darker and lighter than both
    Image.fromarray(silk).save(tmp_path / "silk.png")
    crop = lambda *more: objective_streams(  # noqa: E731 - one expression
        small("cut", sets, f"cut.style.pictures=['{tmp_path / 'silk.png'}']", "cut.style.grey=true", *more)
    )["style"][0]
    trim = "cut.style.trim=[0.15, 0.0, 0.15, 0.0]"
    faded, stretched = crop(trim), crop(trim, "cut.style.stretch=true")
    assert int(faded.max()) - int(faded.min()) < 80
    assert int(stretched.max()) > 225
    assert int(stretched.min()) < 30


def test_balance_takes_a_scans_cast_away_and_leaves_its_colours(sets, tmp_path) -> None:
    scan = np.full((100, 100, 3), (230, 160, 90), np.uint8)  # pale silk under orange light
    scan[20:50], scan[50:60] = (70, 120, 80), (40, 30, 20)  # azurite and ink under it
    Image.fromarray(scan).save(tmp_path / "scan.png")
    picture = f"cut.style.pictures=['{tmp_path / 'scan.png'}']"
    whole = ("cut.style.short_side=0", "cut.style.trim=[0.0, 0.0, 0.0, 0.0]", "cut.style.zoom=[1.0, 1.0]")

    def colours(*more: str) -> list[list[int]]:
        """Of the silk and the azurite, in RGB, in the crop that learning sees."""
        crop = objective_streams(small("cut", sets, picture, *whole, *more))["style"][0]
        side = crop.shape[-1]
        return [crop[:, row, side // 2].tolist() for row in (side * 7 // 8, side // 3)]

    (red, _, blue), azurite = colours("cut.style.stretch=true")
    assert red - blue > 100  # one curve for all of them leaves the silk orange
    assert azurite[2] < azurite[1]
    silk, azurite = colours("cut.style.balance=true")
    assert max(silk) - min(silk) < 10
    assert azurite[2] - azurite[0] > 40


def test_coarse_to_fine_learns_its_coarse_half_alone_at_first(sets, features) -> None:
    chosen = ("generator.network=coarse-to-fine", "generator.size=small", "pix2pix.coarse_steps=1")
    recipe = small("pix2pix", sets, *chosen, "data.crop=96")
    objective = make_objective(recipe, load_features(features))
    state = State(objective, recipe.train, torch.device("cpu"))
    batch = to_batch(next(batches(objective_streams(recipe), 2, 0, 1)), torch.device("cpu"))
    generator = objective.networks["generator"]
    parts = {"fine": generator.fine_stem[0].weight, "coarse": generator.coarse.stem[0].weight}
    moved = []
    for _ in range(2):
        before = {name: weight.detach().clone() for name, weight in parts.items()}
        state.step(batch)
        moved.append({name for name, weight in parts.items() if not torch.equal(weight, before[name])})
    assert moved == [{"coarse"}, {"fine", "coarse"}]
    with pytest.raises(UsageError, match=r"crop = 64 is too small.*see 16 pixels.*take a crop of 96"):
        make_objective(small("pix2pix", sets, *chosen), load_features(features))
    with pytest.raises(UsageError, match="coarse_steps does not go with"):
        make_objective(small("pix2pix", sets, "pix2pix.coarse_steps=1"), load_features(features))


@pytest.mark.slow  # its export is half a minute
def test_coarse_to_fine_goes_on_exactly_and_exports(sets, features, tmp_path) -> None:
    chosen = (
        "generator.network=coarse-to-fine",
        "generator.size=small",
        "pix2pix.coarse_steps=1",
        "data.crop=96",
    )
    recipe = small("pix2pix", sets, *chosen, "train.steps=2", "train.save_every=1")
    whole, parts = train(recipe, Run(tmp_path / "whole"), features=features), Run(tmp_path / "parts")
    train(recipe, parts, features=features, stop_at=1)  # between the coarse half's step and that of both
    train(recipe, parts, features=features, resume=True)
    left, right = load_file(whole.checkpoint_file), load_file(parts.checkpoint_file)
    assert {name for name in left if not torch.equal(left[name], right[name])} == set()
    exported = export(whole.folder, tmp_path / "out.prima", variants=["fp32"], planes=())
    assert exported.judged["fp32"].parity


@pytest.mark.parametrize("method", ["cyclegan", "cut"])
def test_a_discriminator_may_see_what_strikes_a_connoisseur(method, sets, features, tmp_path) -> None:
    """Beside the picture its lightness, colours, edges, strokes and patterns; the paintings' gradient passes them."""
    made = small(method, sets, "culture.discriminator=true")
    objective = make_objective(made, load_features(features))
    first = next(
        module
        for name, network in objective.networks.items()
        if name.startswith("discriminator")
        for module in network.modules()
        if isinstance(module, torch.nn.Conv2d)
    )
    assert first.in_channels == 10
    seen: list[torch.Tensor] = []
    first.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    stopped = train(made, Run(tmp_path / "run"), features=features, stop_at=2)
    assert stopped.weights_file.is_file()
    painting = torch.rand(1, 3, 64, 64, requires_grad=True)
    network = next(net for name, net in objective.networks.items() if name.startswith("discriminator"))
    network(painting)[-1].sum().backward()
    assert seen[-1].shape == (1, 10, 64, 64)
    assert painting.grad is not None
    assert painting.grad.isfinite().all()
    assert painting.grad.abs().max() > 0


@pytest.mark.parametrize("method", ["perceptual", "stargan", "stylegan"])
def test_a_method_whose_discriminator_sees_only_pictures_says_so(method, sets, features) -> None:
    with pytest.raises(UsageError, match="does not go with the method"):
        make_objective(small(method, sets, "culture.discriminator=true"), load_features(features))


@pytest.mark.parametrize("method", ["stylegan", "stargan"])
def test_a_trained_generator_with_controls_is_the_start_of_another_training(
    method, trained, sets, features, tmp_path
) -> None:
    _, before = trained(method)
    recipe = small(
        method, sets, f"transfer.init_from='{before.folder}'", "train.learning_rate=1e-9", "seed=99"
    )
    after = train(recipe, Run(tmp_path / "run"), features=features, stop_at=1)
    begun, found = (run.generator()[0].state_dict() for run in (before, after))
    kept = [name for name in begun if name != "mean"]  # that of w moves on
    assert all((begun[name] - found[name]).abs().max() < 1e-5 for name in kept)
