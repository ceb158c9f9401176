"""Training at the door: `train(recipe, run)` on real pictures, eight steps at a time."""

import errno
import hashlib
import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from allaprima.errors import InputError, OutputError, QualityError, UsageError
from allaprima_train import data, loop
from allaprima_train.data import Crops, Cut
from allaprima_train.features import load_features
from allaprima_train.loop import Step, train
from allaprima_train.objectives import objective_streams
from allaprima_train.recipe import Recipe, parse_recipe
from allaprima_train.run import Run

Recipes = Callable[..., Recipe]


def declare_huge(path: Path) -> None:
    """Let a PNG's header say 50,000 x 50,000 pixels, with the checksum that belongs to it."""
    whole = path.read_bytes()
    header = whole[12:16] + (50_000).to_bytes(4, "big") * 2 + whole[24:29]
    path.write_bytes(whole[:12] + header + zlib.crc32(header).to_bytes(4, "big") + whole[33:])


def test_a_training_leaves_a_run_that_explains_itself(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    run = train(recipe(), Run(tmp_path / "run"), features=features)
    assert run.recipe() == recipe()
    lines = [json.loads(line) for line in run.log_file.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert all(np.isfinite(line["loss/style"]) for line in lines)
    with Image.open(run.samples / "step-000008.png") as sheet:
        assert np.asarray(sheet).std() > 10
    assert list((run.folder / "tensorboard").iterdir())
    generator, notes = run.generator()
    assert notes["step"] == "8"
    assert sum(p.numel() for p in generator.parameters()) > 10_000


def test_the_loss_falls_on_a_fixed_batch(recipe: Recipes, features: Path) -> None:
    """Enough steps on the same pictures must lower the weighted sum of the losses."""
    from allaprima_train.features import load_features
    from allaprima_train.objectives import make_objective

    torch.manual_seed(0)
    made = recipe("train.steps=100", "train.learning_rate=2e-3")
    objective = make_objective(made, load_features(features))
    state = loop.State(objective, made.train, torch.device("cpu"))
    batch = {"content": torch.rand(2, 3, 64, 64)}
    sums = []
    for _ in range(30):
        terms, _ = state.step(batch)
        sums.append(sum(objective.weights[name] * float(term) for name, term in terms.items()))
    assert np.mean(sums[-5:]) < 0.8 * np.mean(sums[:5])


def same_weights(one: Run, other: Run) -> bool:
    """Bit for bit, and the notes with them. Not the files' bytes: safetensors writes notes in any order."""
    (left, left_notes), (right, right_notes) = one.generator(), other.generator()
    ours, theirs = left.state_dict(), right.state_dict()
    return left_notes == right_notes and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(("workers", "optimiser"), [(0, "adam"), (1, "adam"), (0, "soap")])
def test_an_interrupted_training_goes_on_exactly(
    recipe: Recipes, features: Path, tmp_path: Path, workers: int, optimiser: str
) -> None:
    made = recipe(f"data.workers={workers}", f'train.optimiser="{optimiser}"', "train.steps=14")
    whole = train(made, Run(tmp_path / "whole"), features=features)
    parts = Run(tmp_path / "parts")
    train(made, parts, features=features, stop_at=5)
    torch.manual_seed(12345)  # whatever happened in between must not matter
    train(made, parts, features=features, resume=True)

    left, right = load_file(whole.checkpoint_file), load_file(parts.checkpoint_file)
    assert left.keys() == right.keys()
    assert {name for name in left if not torch.equal(left[name], right[name])} == set()
    assert same_weights(whole, parts)

    def steps(run: Run) -> dict[int, dict[str, float]]:
        lines = [json.loads(line) for line in run.log_file.read_text().splitlines()]
        return {line["step"]: {k: v for k, v in line.items() if "pictures" not in k} for line in lines}

    assert steps(whole) == steps(parts)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    run = train(recipe(), Run(tmp_path / "run"), features=features)
    run.checkpoint_file.write_bytes(run.checkpoint_file.read_bytes()[:1000])
    seen: list[Step] = []
    train(recipe(), run, features=features, resume=True, on_step=seen.append)
    assert [step.step for step in seen] == [5, 6, 7, 8]


class Killed(BaseException):
    """As Ctrl-C or a signal: nobody on the way catches it."""


def die_at(step: int) -> Callable[[Step], None]:
    def on_step(report: Step) -> None:
        if report.step == step:
            raise Killed

    return on_step


def test_a_training_killed_between_saves_logs_every_step_once(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    whole, parts = Run(tmp_path / "whole"), Run(tmp_path / "parts")
    train(recipe(), whole, features=features)
    with pytest.raises(Killed):
        train(recipe(), parts, features=features, on_step=die_at(6))
    with open(parts.log_file, "a") as file:
        file.write('{"step": 7, "loss/st')  # the power went out while this was written
    train(recipe(), parts, features=features, resume=True)

    lines = [json.loads(line) for line in parts.log_file.read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))
    events = EventAccumulator(str(parts.board)).Reload().Scalars("loss/style")
    assert [event.step for event in events] == list(range(1, 9))
    assert same_weights(whole, parts)


def test_a_run_resumed_after_the_clock_was_set_back_keeps_the_order_of_its_curves(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = Run(tmp_path / "run")
    for die in (5, 7):
        with pytest.raises(Killed):
            train(recipe(), run, features=features, resume=die > 5, on_step=die_at(die))
        for file in run.board.glob("events.*"):  # what a later clock would have named them
            _, _, _, second, rest = file.name.split(".", 4)
            file.replace(file.with_name(f"events.out.tfevents.{int(second) + 900}.{rest}"))
    train(recipe(), run, features=features, resume=True)
    events = EventAccumulator(str(run.board)).Reload().Scalars("loss/style")
    assert [event.step for event in events] == list(range(1, 9))


def test_starting_over_keeps_nothing_of_the_run_before(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    run = train(recipe(), Run(tmp_path / "run"), features=features)
    train(recipe("train.steps=9"), run, features=features, resume=True, may_change=["train.steps"])
    with pytest.raises(Killed):
        train(recipe(), run, features=features, on_step=die_at(1))  # before the first save
    with pytest.raises(InputError, match=r"cannot resume.*start again with --overwrite"):
        train(recipe(), run, features=features, resume=True)
    with pytest.raises(InputError, match=r"no weights\.safetensors"):
        run.generator()
    assert list(run.samples.iterdir()) == []
    assert run.changes() == []
    assert len(list(run.board.iterdir())) == 1
    assert len(run.log_file.read_text().splitlines()) == 1


def test_two_trainings_in_one_folder_are_one_too_many(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    """They would write over each other's checkpoints, and what came out would be neither's."""
    run = Run(tmp_path / "run")
    train(recipe(), run, features=features, stop_at=2)

    def contents() -> dict[Path, bytes]:  # TensorBoard writes when it likes
        return {file: file.read_bytes() for file in run.folder.iterdir() if file.is_file()}

    def another(step: Step) -> None:
        before = contents()
        for resume in (False, True):
            with pytest.raises(OutputError, match="another training goes on there"):
                train(recipe(), run, features=features, resume=resume)
        assert contents() == before

    train(recipe(), run, features=features, resume=True, stop_at=3, on_step=another)
    train(recipe(), run, features=features, resume=True, stop_at=4)
    assert run.load_checkpoint()[1]["step"] == 4
    assert not list(run.folder.glob(".*"))


def test_a_run_where_a_file_is_says_so(recipe: Recipes, features: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(OutputError, match="run") as caught:
        train(recipe(), Run(tmp_path / "run"), features=features)
    assert caught.value.code != "E_OUTPUT_BUSY"
    assert (tmp_path / "run").read_text() == "mine"


def test_a_resume_with_another_recipe_is_refused_and_names_what_differs(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    run = train(recipe(), Run(tmp_path / "run"), features=features, stop_at=4)
    before = run.recipe_file.read_bytes()
    other = recipe("train.steps=5", "perceptual.style_weight=99")
    for may_change in ((), ("train.steps",), ("train.step", "perceptual.style")):
        with pytest.raises(UsageError, match=r"perceptual\.style_weight is 4\.0 there and 99\.0 here"):
            train(other, run, features=features, resume=True, may_change=may_change)
    assert run.recipe_file.read_bytes() == before
    assert run.changes() == []


def test_a_change_on_resume_is_allowed_when_asked_for_and_recorded(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    run = train(recipe(), Run(tmp_path / "run"), features=features, stop_at=4)
    lower = recipe("train.learning_rate=5e-4")
    train(lower, run, features=features, resume=True, may_change=["train.learning_rate"], stop_at=6)
    again = recipe("train.learning_rate=5e-4", "train.steps=7")
    train(again, run, features=features, resume=True, may_change=["train"])
    assert run.recipe() == again
    assert [change.line for change in run.changes()] == [
        "changed at step 4: train.learning_rate 0.001 -> 0.0005",
        "changed at step 6: train.steps 8 -> 7",
    ]
    lines = [json.loads(line) for line in run.log_file.read_text().splitlines()]
    assert lines[-1]["step"] == 7
    assert lines[4]["learning_rate"] < 5e-4
    with pytest.raises(UsageError, match="it has done 7 already"):
        train(recipe("train.steps=5"), run, features=features, resume=True, may_change=["train"])


def test_a_resume_with_other_photographs_is_refused(
    recipe: Recipes, features: Path, photos: Path, tmp_path: Path
) -> None:
    """One picture more, and what was trained on yesterday would be held out today."""
    run = train(recipe(), Run(tmp_path / "run"), features=features, stop_at=4)
    Image.new("RGB", (90, 90)).save(photos / "new.png")
    with pytest.raises(InputError, match="its photographs have changed"):
        train(recipe(), run, features=features, resume=True)
    (photos / "new.png").unlink()
    moved = photos.rename(photos.with_name("moved"))
    train(
        recipe(f"data.content=['{moved}']"),
        run,
        features=features,
        resume=True,
        may_change=["data.content"],
    )
    assert [change.key for change in run.changes()] == ["data.content"]


def test_the_feature_network_is_named_with_the_weights(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    run = train(recipe("train.steps=2"), Run(tmp_path / "run"), features=features)
    digest = hashlib.sha256(features.read_bytes()).hexdigest()
    assert run.generator()[1]["features"] == f"{features.name}, SHA-256 {digest}"
    other = {name: tensor + 0.01 for name, tensor in load_file(features).items()}
    save_file(other, tmp_path / "other.safetensors")
    made = recipe("train.steps=3")
    train(made, run, features=tmp_path / "other.safetensors", resume=True, may_change=["train.steps"])
    assert [change.key for change in run.changes()] == ["train.steps", "features"]
    assert run.changes()[1].new.startswith("other.safetensors, SHA-256 ")


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_checkpoint(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    run = train(recipe(), Run(tmp_path / "run"), features=features, stop_at=4)
    before = run.checkpoint_file.read_bytes()
    with pytest.raises(
        QualityError, match=r"the losses structure, style, .* and \w+ are not numbers at step 6"
    ) as caught:
        train(
            recipe("train.learning_rate=1e30", "train.gradient_clip=1e30"),
            run,
            features=features,
            resume=True,
            may_change=["train.learning_rate", "train.gradient_clip"],
        )
    assert caught.value.exit_status == 8
    assert "--resume --set train.learning_rate" in caught.value.next
    assert run.checkpoint_file.read_bytes() == before
    train(recipe(), run, features=features, resume=True, may_change=["train"])  # what it advises works
    assert run.load_checkpoint()[1]["step"] == 8


def test_a_full_disk_leaves_the_last_checkpoint_intact(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource", reason="limits on a file's size are a matter of Unix")
    run = train(recipe(), Run(tmp_path / "run"), features=features, stop_at=4)
    before = run.weights_file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OutputError, match="larger than allowed"):
            train(recipe(), run, features=features, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert run.weights_file.read_bytes() == before
    assert not [path for path in run.folder.iterdir() if ".part" in path.name or ".lock" in path.name]
    assert run.load_checkpoint()[1]["step"] == 4


def test_unreadable_pictures_are_skipped_and_named(
    recipe: Recipes, features: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of those trained on and of those held out: one cut off, one text, one that declares too many pixels."""
    made = recipe("train.steps=4", "train.sample_every=4")
    pictures, held_out = data.split(data.find_pictures(made.data.content), 2, made.seed)
    pictures[0].write_bytes(pictures[0].read_bytes()[:200])
    declare_huge(pictures[1])
    held_out[0].write_text("not a picture")
    run = train(made, Run(tmp_path / "run"), features=features)
    for path in (pictures[0], pictures[1], held_out[0]):
        assert caplog.text.count(str(path)) == 1
    with Image.open(run.samples / "step-000004.png") as sheet:
        assert sheet.width == 320  # the one held-out picture that is left


def test_an_unreadable_picture_of_a_style_is_skipped_and_named(
    recipe: Recipes, features: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    works = tmp_path / "works"
    works.mkdir()
    for number in range(3):
        Image.effect_noise((96, 96), 60 + number).convert("RGB").save(works / f"{number}.png")
    (works / "1.png").write_text("not a picture")
    made = recipe("train.steps=1", f"perceptual.style='{works}'", "quality.every=1")
    train(made, Run(tmp_path / "run"), features=features)
    assert caplog.text.count(f"{works / '1.png'} was skipped") == 2  # to learn from, and to measure by
    for path in works.iterdir():
        path.write_text("not a picture")
    with pytest.raises(InputError, match="cannot read the style picture"):
        train(made, Run(tmp_path / "other"), features=features)


def test_a_full_disk_is_told_as_such_whatever_was_being_written(
    recipe: Recipes, features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def on_step(report: Step) -> None:
        monkeypatch.setattr(json, "dumps", full)  # what the log's next line is made by

    with pytest.raises(OutputError, match="the disk is full"):
        train(recipe("train.steps=2"), Run(tmp_path / "run"), features=features, on_step=on_step)


def test_a_training_whose_held_out_pictures_are_all_unreadable_goes_on_without_samples(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    made = recipe("train.steps=2", "data.held_out=1")
    data.split(data.find_pictures(made.data.content), 1, made.seed)[1][0].write_text("not a picture")
    run = train(made, Run(tmp_path / "run"), features=features)
    assert run.weights_file.is_file()
    assert list(run.samples.iterdir()) == []


def test_a_style_picture_that_cannot_be_read_is_named(recipe: Recipes, features: Path, photos: Path) -> None:
    style = photos.parent / "style.png"
    declare_huge(style)
    with pytest.raises(InputError, match=r"style\.png.*million pixels") as caught:
        train(recipe(), Run(photos.parent / "run"), features=features)
    assert caught.value.code == "E_STYLE_PICTURE"


def test_grey_alpha_and_small_pictures_are_taken(recipe: Recipes, features: Path, photos: Path) -> None:
    for path in photos.glob("*.png"):
        path.unlink()
    Image.new("L", (40, 50), 90).save(photos / "grey.png")
    Image.new("RGBA", (70, 200), (200, 10, 10, 40)).save(photos / "alpha.png")
    Image.new("I;16", (80, 80), 30000).save(photos / "deep.png")
    values = {path.stem: np.unique(np.array(data.read_picture(path))) for path in photos.glob("*.png")}
    assert values["deep"].tolist() == [117]  # 30000 / 257
    assert values["grey"].tolist() == [90]
    assert values["alpha"].tolist() == [109, 139]  # (40 * 10 + 215 * 128) / 255, and with 200
    crops = Crops(data.find_pictures([str(photos)]), Cut.of_content(recipe().data), seed=1)
    for number in range(6):
        assert crops[number].shape == (3, 96, 96)  # 64 and 16 of context on each side


def test_training_without_pictures_says_what_to_do(recipe: Recipes, features: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    made = recipe(f"data.content=['{tmp_path / 'empty'}']")
    with pytest.raises(InputError, match="it has no pictures in it") as caught:
        train(made, Run(tmp_path / "run"), features=features)
    assert "--set" in caught.value.next
    assert not (tmp_path / "run").exists()


def test_a_picture_of_an_ending_that_is_not_read_is_not_called_missing(tmp_path: Path) -> None:
    (tmp_path / "x.heic").write_bytes(b"a picture")
    words = r"x\.heic - .* ends with one of \.bmp, \.jpeg, .* - .*--set 'data\.content="
    with pytest.raises(InputError, match=words):
        data.find_pictures([str(tmp_path / "x.heic")])
    with pytest.raises(InputError, match="there is no such folder or file"):
        data.find_pictures([str(tmp_path / "y.heic")])


def test_a_set_that_cannot_be_set_alone_is_named_without_saying_how(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    made = parse_recipe(
        f"""
name = "several"
method = "stargan"
[data]
content = ["{photos}"]
[generator]
network = "mobile"
size = "nano"
[[stargan.domains]]
name = "ink"
pictures = ["{tmp_path / "empty"}"]
[[stargan.domains]]
name = "oil"
pictures = ["{photos}"]
""",
        "several.toml",
    )
    with pytest.raises(InputError, match=r"point \[stargan\] domains, ink at a folder of pictures$"):
        objective_streams(made)


def test_features_that_are_not_safetensors_say_so(tmp_path: Path) -> None:
    torch.save({"conv1_1.weight": torch.zeros(1)}, tmp_path / "vgg19.pth")
    with pytest.raises(InputError, match=r"vgg19\.pth - it is no whole safetensors file") as caught:
        load_features(tmp_path / "vgg19.pth")
    assert caught.value.code == "E_FEATURES_INVALID"


def test_a_checkpoint_of_another_network_says_what_differs(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    run = train(recipe(), Run(tmp_path / "run"), features=features, stop_at=4)
    with pytest.raises(
        InputError, match=r"another network - lacks generator.blocks.3.first.full;.*and \d+ more"
    ):
        train(
            recipe("generator.size='small'"),
            run,
            features=features,
            resume=True,
            may_change=["generator.size"],
        )
    assert run.recipe() == recipe()


def test_missing_features_say_where_to_point(recipe: Recipes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ALLAPRIMA_FEATURES"):
        train(recipe(), Run(tmp_path / "run"), features=tmp_path / "nowhere")


def test_crops_depend_on_seed_and_number_alone(recipe: Recipes) -> None:
    made = recipe()
    pictures, cut = data.find_pictures(made.data.content), Cut.of_content(made.data)
    one, two = Crops(pictures, cut, seed=5), Crops(pictures, cut, seed=5)
    _ = [one[number] for number in (9, 2, 30)]
    assert torch.equal(one[17], two[17])
    assert not torch.equal(one[17], Crops(pictures, cut, seed=6)[17])


def test_training_reads_colours_like_the_runtime(photos: Path) -> None:
    """One rule for profiles, orientation and depth: what was learned is what will be painted."""
    from PIL import ImageCms

    usual = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    named = usual.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    swapped = named.replace(b"rXYZ", b"----").replace(b"gXYZ", b"rXYZ").replace(b"----", b"gXYZ")
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.new("RGB", (40, 30), (200, 60, 20)).save(photos / "swapped.png", exif=exif, icc_profile=swapped)
    read = np.array(data.read_picture(photos / "swapped.png"))
    assert read.shape == (40, 30, 3)
    assert np.abs(read.astype(int) - (60, 200, 20)).max() <= 2


def test_a_picture_that_two_places_name_counts_once(recipe: Recipes, photos: Path) -> None:
    (photos.parent / "link").symlink_to(photos)
    places = [photos, photos / ".." / "photos", photos.parent / "link", photos / "3.png"]
    assert data.find_pictures([str(place) for place in places]) == data.find_pictures([str(photos)])


def test_held_out_pictures_are_never_trained_on(recipe: Recipes) -> None:
    made = recipe()
    pictures = data.find_pictures(made.data.content)
    train_on, held_out = data.split(pictures, 2, made.seed)
    assert set(train_on) | set(held_out) == set(pictures)
    assert not set(train_on) & set(held_out)
    assert data.split(pictures, 2, made.seed) == (train_on, held_out)
