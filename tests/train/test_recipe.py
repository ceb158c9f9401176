"""Recipes: strict, explained in the user's words, and every one that we ship can be read."""

from pathlib import Path

import pytest

from allaprima.errors import InputError, UsageError
from allaprima_train.recipe import bundle_name, differences, load_recipe, parse_recipe, to_table

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))

GOOD = """
name = "waves"
method = "perceptual"
[data]
content = ["photos"]
[perceptual]
style = "wave.jpg"
"""


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_every_shipped_recipe_is_read(path: Path) -> None:
    recipe = load_recipe(path)
    assert path.stem == recipe.name
    assert recipe.card.style_source
    assert recipe.card.content_terms


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_key_of_a_shipped_recipe_is_explained_in_place(path: Path) -> None:
    """By a comment in its line or in the line above it; a card's keys say what they are."""
    table, above, inside = "", "", 0
    for line in path.read_text("utf-8").splitlines():
        bare = line.partition("#")[0].strip()
        if not inside and bare.startswith("["):
            table = bare.strip("[]")
        elif not inside and "=" in bare and table and not table.startswith("card"):
            assert "#" in line or above.startswith("#"), f"[{table}] {bare}"
        if not bare.startswith("["):
            inside += bare.count("[") - bare.count("]")
        above = line


def test_there_are_shipped_recipes() -> None:
    assert RECIPES


def test_a_recipe_as_used_reads_back_as_itself() -> None:
    import tomlkit

    recipe = parse_recipe(GOOD, "waves.toml", ["train.steps=7"])
    assert parse_recipe(tomlkit.dumps(to_table(recipe)), "again.toml") == recipe


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("[train]\nstesp = 3", "[train] has no setting 'stesp'; did you mean 'steps'?"),
        ("[train]\nsteps = 0", "[train] steps = 0: input should be greater than or equal to 1"),
        ('[train]\nsteps = "3"', "[train] steps = '3': input should be a valid integer"),
        ("[trian]\nsteps = 3", "the top level has no setting 'trian'; did you mean 'train'?"),
        ("[generator]\nsize = 3", "[generator] size = 3: input should be a valid string"),
    ],
)
def test_what_does_not_fit_is_refused_in_the_users_words(change: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_recipe(GOOD + change, "waves.toml")
    assert f"waves.toml: {words}" in str(caught.value)


def test_the_methods_own_table_is_as_strict() -> None:
    with pytest.raises(UsageError, match=r"\[perceptual\] has no setting 'stile'; did you mean 'style'"):
        parse_recipe(GOOD + 'stile = "x"', "waves.toml")
    with pytest.raises(UsageError, match=r"\[perceptual\] needs a setting 'style'"):
        parse_recipe(GOOD.replace('style = "wave.jpg"', ""), "waves.toml")


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="no method 'perceptul'; did you mean 'perceptual'"):
        parse_recipe(GOOD.replace('"perceptual"', '"perceptul"'), "waves.toml")


def test_a_crop_that_the_networks_cannot_take_is_refused() -> None:
    with pytest.raises(UsageError, match="crop = 100: must be a multiple of 8"):
        parse_recipe(GOOD, "waves.toml", ["data.crop=100"])


@pytest.mark.parametrize("zoom", ["[0.0, 0.0]", "[0, 1]", "[-1, 1]", "[1.4, 0.8]"])
def test_a_zoom_that_no_crop_can_have_is_refused(zoom: str) -> None:
    with pytest.raises(UsageError, match="zoom.*must be 0 < lowest <= highest"):
        parse_recipe(GOOD, "waves.toml", [f"data.zoom={zoom}"])
    assert parse_recipe(GOOD, "waves.toml", ["data.zoom=[1, 1]"]).data.zoom == (1, 1)


@pytest.mark.parametrize("name", ["星空", "", "...", "../waves", "a\\\\b"])
def test_a_name_that_no_bundle_can_have_is_refused_before_hours_of_training(name: str) -> None:
    with pytest.raises(UsageError, match="a folder and a bundle are called after it"):
        parse_recipe(GOOD, "waves.toml", [f'name="{name}"'])
    assert parse_recipe(GOOD, "waves.toml", ["title='星空'"]).title == "星空"


def test_names_become_what_a_bundle_may_be_called() -> None:
    assert bundle_name("My Style_2 (final)") == "my-style-2-final"


def test_differences_are_named_as_set_names_them() -> None:
    one = parse_recipe(GOOD, "waves.toml")
    other = parse_recipe(GOOD, "waves.toml", ["train.steps=7", "perceptual.style_weight=9.0"])
    assert differences(one, other) == {"train.steps": (4000, 7), "perceptual.style_weight": (4.0, 9.0)}
    assert differences(one, one) == {}


def test_broken_toml_says_where() -> None:
    with pytest.raises(InputError, match="line 2"):
        parse_recipe('name = "x"\nmethod = \n', "waves.toml")


def test_overrides_are_toml_values_and_may_make_tables() -> None:
    recipe = parse_recipe(
        GOOD, "waves.toml", ["train.learning_rate=2e-3", "data.content=['a', 'b']", "title=x"]
    )
    assert (recipe.train.learning_rate, recipe.data.content, recipe.title) == (2e-3, ("a", "b"), "x")
    with pytest.raises(UsageError, match="it has no '='"):
        parse_recipe(GOOD, "waves.toml", ["train.steps"])
