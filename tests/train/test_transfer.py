"""Beginning with what was trained before, training parts of it, and adapters that fold away."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import load_file, save_file

from allaprima.bundle import Bundle, find_style
from allaprima.errors import InputError, UsageError
from allaprima_train.adapters import adapt, is_adapter, merged
from allaprima_train.generators import Generator, make_generator
from allaprima_train.generators.doubletail import DoubleTail
from allaprima_train.generators.mobile import SIZES, Mobile, Size
from allaprima_train.generators.retention import Retention
from allaprima_train.loop import prepared, train
from allaprima_train.recipe import Recipe, parse_recipe
from allaprima_train.run import Run
from allaprima_train.team import team
from allaprima_train.transfer import begin_with, read_weights

Recipes = Callable[..., Recipe]

SHIPPED = "starry"


def events(run: Run) -> list[str]:
    lines = [json.loads(line) for line in run.log_file.read_text().splitlines()]
    return [line["event"] for line in lines if "event" in line]


def saved(tmp_path: Path, name: str, content: object) -> str:
    torch.save(content, tmp_path / name)
    return str(tmp_path / name)


@pytest.fixture
def nano() -> torch.nn.Module:
    torch.manual_seed(5)
    return make_generator("mobile", "nano").eval()


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_begins_where_another_ended(recipe: Recipes, features: Path, tmp_path: Path) -> None:
    first = train(recipe("train.steps=2"), Run(tmp_path / "first"), features=features)
    made = recipe(
        f"transfer.init_from='{first.folder}'",
        "train.steps=1",
        "train.learning_rate=1e-12",
    )
    second = train(made, Run(tmp_path / "second"), features=features)
    for name, tensor in first.generator()[0].state_dict().items():
        assert torch.allclose(tensor, second.generator()[0].state_dict()[name], atol=1e-6)
    assert second.generator()[1]["init_from"] == "the run small, step 2"
    assert events(second)[0].startswith("began with all ")
    train(recipe(f"transfer.init_from='{first.folder}'", "train.steps=2"), second, features=features,
          resume=True, may_change=["train"])  # fmt: skip
    assert second.generator()[1]["init_from"] == "the run small, step 2"


@pytest.mark.parametrize("wrap", ["plain", "params_ema", "module"])
def test_a_checkpoint_of_torch_is_taken_however_it_is_wrapped(
    nano: torch.nn.Module, tmp_path: Path, wrap: str
) -> None:
    weights = dict(nano.state_dict())
    content = {
        "plain": weights,
        "params_ema": {"params_ema": weights, "step": 3},
        "module": {"state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}},
    }[wrap]
    fresh = make_generator("mobile", "nano")
    begin_with(fresh, read_weights(saved(tmp_path, "net.pth", content)))
    assert same(fresh, nano)


def test_safetensors_are_taken(nano: torch.nn.Module, tmp_path: Path) -> None:
    save_file(nano.state_dict(), tmp_path / "net.safetensors")
    fresh = make_generator("mobile", "nano")
    assert begin_with(fresh, read_weights(str(tmp_path / "net.safetensors"))).endswith("from net.safetensors")
    assert same(fresh, nano)


def test_a_bundle_is_unfolded_and_paints_as_it_did() -> None:
    """The style that ships: what it paints and what the generator begun with it paints differ by rounding only."""
    import numpy as np
    from drawings import picture

    import allaprima
    from allaprima_train.frame_model import FrameModel

    generator = Mobile(shipped_size()).eval()
    said = begin_with(generator, read_weights(SHIPPED))
    assert said.startswith("all ")
    assert "the bundle starry" in said
    image = picture(4, 64, 96)
    with torch.no_grad():
        ours = FrameModel(generator)(torch.from_numpy(image)[None], torch.ones(1))[0].numpy()
    with allaprima.Stylizer.open(SHIPPED, backend="ort", precision="fp32") as stylizer:
        theirs = stylizer.paint(image)
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
    moving = {name for name, p in generator.named_parameters() if "expand" in name and p.abs().max() > 0}
    assert moving  # the other branches still have something to learn with


@pytest.mark.parametrize("size", ["nano", "nano-fine"])
def test_a_second_tail_begins_as_the_first_unless_it_is_given(size: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    given = make_generator("mobile", size).state_dict()
    torch.manual_seed(2)
    network = DoubleTail(size)
    x = torch.rand(1, 3, 32, 32)
    begin_with(network, read_weights(saved(tmp_path, "net.pth", given)), only_what_fits=True)
    with torch.no_grad():
        assert torch.equal(*network.both(x))
        assert torch.equal(network.head.state_dict()["bias"], given["head.bias"])
        network.support_head.bias.add_(0.5)  # one that has trained keeps its own
        again = DoubleTail(size)
        begin_with(again, read_weights(saved(tmp_path, "both.pth", network.state_dict())))
        assert torch.equal(again.both(x)[1], network.both(x)[1])
        assert not torch.equal(*again.both(x))


@pytest.mark.parametrize("kind", [DoubleTail, Retention])
def test_a_run_whose_network_has_more_while_it_trains_begins_another(
    kind: type[Mobile], recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    trained, run = kind("nano"), Run(tmp_path / "run")
    run.begin(recipe())
    monkeypatch.setattr("allaprima_train.run.shipped_generator", lambda recipe: kind("nano"))
    run.save_weights(trained, {"step": "3"})
    other = Mobile("nano")
    assert begin_with(other, read_weights(str(run.folder))).endswith("from the run small, step 3")
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(other.folded()(x), trained.folded()(x))
    again = kind("nano")
    begin_with(again, read_weights(str(run.folder)))
    assert same(again, trained)


def test_another_architecture_says_what_differs(nano: torch.nn.Module, tmp_path: Path) -> None:
    small = make_generator("mobile", "small")
    with pytest.raises(InputError, match=r"net\.pth holds another network - lacks blocks\.3.*and \d+ more"):
        begin_with(small, read_weights(saved(tmp_path, "net.pth", nano.state_dict())))
    said = begin_with(small, read_weights(str(tmp_path / "net.pth")), only_what_fits=True)
    assert said.startswith("2 of ")  # biases at the ends; nothing else is as large
    foreign = saved(tmp_path, "other.pth", {"layer.weight": torch.zeros(3, 3)})
    with pytest.raises(InputError, match=r"nothing in other\.pth fits this generator - lacks stem\.full"):
        begin_with(small, read_weights(foreign), only_what_fits=True)


def shipped_size() -> Size:
    bundle = Bundle.open(find_style(SHIPPED))
    return SIZES[
        parse_recipe(bundle.read(bundle.manifest.lineage.recipe).decode(), "its recipe").generator.size
    ]


def test_what_does_not_fit_in_a_bundle_keeps_its_own_weights() -> None:
    """Layers of a bundle are scaled to bytes; those that begin afresh are not, and must not be scaled back."""
    torch.manual_seed(5)
    whole = shipped_size()
    wider = Mobile(whole._replace(eighth=48))
    before = {name: tensor.clone() for name, tensor in wider.state_dict().items()}
    said = begin_with(wider, read_weights(SHIPPED), only_what_fits=True)
    ends = (
        {"stem", "head", "rise"} if whole.half else {"stem", "head"}
    )  # what neither reads nor writes at 1/8
    assert said.startswith(f"{2 * len(ends)} of ")
    after = wider.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == ends
    shipped = Mobile(whole)
    begin_with(shipped, read_weights(SHIPPED))
    assert all(
        torch.equal(after[name], shipped.state_dict()[name])
        for name in after
        if name.startswith("stem.") and name.endswith("full")
    )

    fewer = Mobile(whole._replace(quarter=24, half=whole.half and 6))
    own = {name: t.clone() for name, t in fewer.state_dict().items() if name.startswith(("stem", "head"))}
    begin_with(fewer, read_weights(SHIPPED), only_what_fits=True)
    assert all(torch.equal(tensor, fewer.state_dict()[name]) for name, tensor in own.items())


def test_a_run_that_is_not_here_yet_is_to_be_trained_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        read_weights("runs/ground")
    assert caught.value.next == (
        "train it first, by a recipe of the name ground; or correct [transfer] init_from"
    )


class Malice:
    """Unpickling runs this; the file that it writes would show it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("ending", ["pth", "ckpt"])
@pytest.mark.parametrize("how", ["torch", "legacy", "pickle"])
def test_a_malicious_pickle_is_refused_and_nothing_of_it_runs(tmp_path: Path, ending: str, how: str) -> None:
    mark, path = tmp_path / "it-ran", tmp_path / f"net.{ending}"
    content = {"state_dict": {"stem.bias": torch.zeros(3)}, "extra": Malice(mark)}
    if how == "pickle":
        path.write_bytes(pickle.dumps(content["extra"]))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(InputError, match="was not read - reading it would run") as caught:
        read_weights(str(path))
    assert caught.value.code == "E_WEIGHTS_UNSAFE"
    assert not mark.exists()
    torch.load(path, weights_only=False) if how != "pickle" else pickle.loads(path.read_bytes())
    assert mark.exists()  # it is a real one: without the guard it runs


def test_a_pytorch_that_can_be_made_to_run_a_pickle_reads_none(
    nano: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.pth"
    torch.save(nano.state_dict(), path)
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(InputError, match=r"2\.9\.1\+cpu can be made to run.*install PyTorch 2\.10"):
        read_weights(str(path))
    monkeypatch.setattr(torch, "__version__", "2.10.0")
    assert read_weights(str(path)).origin


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("net.pth", b"<html>not found</html>", "cannot read the weights|was not read"),
        ("net.safetensors", b"<html>not found</html>", "cannot read the weights"),
        ("net.pth", {"epoch": 3}, "holds no weights by name - it holds epoch"),
        ("gone.pth", None, "there is no such file"),
    ],
)
def test_what_holds_no_weights_says_so(tmp_path: Path, name: str, content: object, words: str) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        saved(tmp_path, name, content)
    with pytest.raises(InputError, match=words):
        read_weights(str(tmp_path / name))


def test_frozen_weights_stay_and_others_learn_at_their_own_rate(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    start = train(recipe("train.steps=1"), Run(tmp_path / "start"), features=features)
    made = recipe(
        f"transfer.init_from='{start.folder}'",
        "transfer.freeze=['generator.stem.*', 'generator.blocks.0.*']",
        'transfer.rates={"generator.up.*" = 1e-6}',
        "train.steps=3",
        "train.ema=0.0",
    )
    run = train(made, Run(tmp_path / "run"), features=features)
    before, after = start.generator()[0].state_dict(), run.generator()[0].state_dict()
    moved = {name: float((before[name] - after[name]).abs().max()) for name in before}
    assert all(moved[name] == 0 for name in moved if name.startswith(("stem.", "blocks.0.")))
    assert all(moved[name] > 1e-4 for name in moved if name.startswith("blocks.1.first."))
    assert 0 < moved["up.filter"] < 1e-6


def memory(run: Run) -> dict[str, torch.Tensor]:
    """Each parameter's average gradient in a checkpoint, by the parameter's name."""
    tensors, state = run.load_checkpoint()
    slots = state["optimiser.generator"]["slots"]
    names = state["optimiser.generator"]["of"]
    return {name: tensors[slots[str(i)]["of"]["exp_avg"]["tensor"]] for i, name in enumerate(names)}


@pytest.mark.parametrize("optimiser", ["adam", "soap"])
def test_what_is_frozen_at_a_resume_leaves_the_others_their_own_memory(
    recipe: Recipes, features: Path, tmp_path: Path, optimiser: str
) -> None:
    kind = f"train.optimiser='{optimiser}'"
    run = train(recipe("train.steps=4", kind), Run(tmp_path / "run"), features=features, stop_at=3)
    frozen = recipe(
        "train.steps=4",
        kind,
        "transfer.freeze=['generator.blocks.0.*']",
        'transfer.rates={"generator.up.*" = 0.5}',
    )
    state, *_ = prepared(frozen, team("cpu"), features, afresh=False)
    state.load(run)
    copy = Run(tmp_path / "copy")
    copy.begin(frozen)
    state.save(copy)
    before, after = memory(run), memory(copy)
    assert before.keys() - after.keys() == {name for name in before if ".blocks.0." in name}
    assert {name for name, tensor in after.items() if not torch.equal(tensor, before[name])} == set()
    train(frozen, run, features=features, resume=True, may_change=["transfer"])
    assert not any("memory" in event for event in events(run))


def test_another_optimiser_begins_without_memory_and_says_so(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    run = Run(tmp_path / "run")
    train(recipe("train.steps=6"), run, features=features, stop_at=2)
    for steps, kind in ((4, "soap"), (6, "adam")):
        made = recipe("train.steps=6", f"train.optimiser='{kind}'")
        train(made, run, features=features, resume=True, may_change=["train"], stop_at=steps)
    assert [event for event in events(run) if "memory" in event] == [
        "the optimiser of generator begins without its memory"
    ] * 2
    thawed = Run(tmp_path / "thawed")
    train(
        recipe("train.steps=4", "transfer.freeze=['generator.stem.*']"), thawed, features=features, stop_at=2
    )
    train(recipe("train.steps=4"), thawed, features=features, resume=True, may_change=["transfer"])
    assert events(thawed)[-1] == "the optimiser of generator begins without its memory"


def test_weight_decay_forgets(recipe: Recipes, features: Path, tmp_path: Path) -> None:
    norms = []
    for decay in (0.0, 10.0):
        made = recipe(f"train.weight_decay={decay}", "train.steps=6", "train.warmup=0")
        run = train(made, Run(tmp_path / str(decay)), features=features)
        norms.append(float(run.generator()[0].state_dict()["blocks.1.first.full"].norm()))
    assert norms[1] < 0.99 * norms[0]


@pytest.mark.parametrize(
    "setting", ["freeze=['generator.stam.*']", 'rates={"generatr.*"=0.1}', "freeze=['*']"]
)
def test_patterns_that_fit_nothing_or_leave_nothing_are_refused(
    recipe: Recipes, features: Path, tmp_path: Path, setting: str
) -> None:
    with pytest.raises(
        UsageError, match=r"fits no weight - they are called .*generator\.stem\.\*|leave nothing"
    ):
        train(recipe(f"transfer.{setting}"), Run(tmp_path / "run"), features=features)


@pytest.mark.parametrize("network", [("mobile", "small"), ("mobile", "nano-fine"), ("resnet", "small")])
def test_adapters_fold_bit_for_bit_into_the_plain_network(network: tuple[str, str]) -> None:
    torch.manual_seed(0)
    generator = make_generator(*network).eval()
    names, whole = list(generator.state_dict()), sum(p.numel() for p in generator.parameters())
    adapt(generator, 4)
    own = [p for name, p in generator.named_parameters() if is_adapter(name)]
    assert sum(p.numel() for p in own) < 0.1 * whole
    x = torch.rand(1, 3, 48, 64)
    with torch.no_grad():
        untouched = generator(x)
        for parameter in own:
            parameter += 0.05 * torch.randn_like(parameter)
        adapted, plain = generator(x), merged(generator)
        assert (adapted - untouched).abs().max() > 1e-3
        assert set(plain.state_dict()) == set(names)
        assert torch.equal(plain(x), adapted)
        folded, theirs = (cast(Generator, one).folded() for one in (generator, plain))
        assert torch.equal(folded(x), theirs(x))
        assert torch.equal(generator(x), adapted)  # merging a copy leaves the original as it was


def test_a_training_with_adapters_ships_a_plain_network_and_resumes_exactly(
    recipe: Recipes, features: Path, tmp_path: Path
) -> None:
    start = train(recipe("train.steps=1"), Run(tmp_path / "start"), features=features)
    made = recipe(
        f"transfer.init_from='{start.folder}'", "transfer.adapters=2", "transfer.adapt=['blocks.*']"
    )
    whole = train(made, Run(tmp_path / "whole"), features=features)
    before, after = start.generator()[0].state_dict(), whole.generator()[0].state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {f"blocks.{n}.{place}.full" for n in range(3) for place in ("first", "second")}
    told = [text for text in events(whole) if text.startswith("adapters")]
    assert told[0].startswith("adapters of rank 2 on 6 layers train ")
    assert float(told[0].split("train ")[1].split("%")[0]) < 10

    parts = Run(tmp_path / "parts")
    train(made, parts, features=features, stop_at=5)
    train(made, parts, features=features, resume=True)
    left, right = load_file(whole.checkpoint_file), load_file(parts.checkpoint_file)
    assert {name for name in left if not torch.equal(left[name], right[name])} == set()


def test_adapters_on_no_layer_are_refused(recipe: Recipes, features: Path, tmp_path: Path) -> None:
    made = recipe("transfer.adapters=2", "transfer.adapt=['tail.*']")
    with pytest.raises(
        UsageError, match=r"fits no convolution.*its convolutions are stem, down, blocks\.0\.first"
    ):
        train(made, Run(tmp_path / "run"), features=features)
