"""Reading settings strictly, and saying what is wrong in the user's words."""

from dataclasses import dataclass, field
from typing import Annotated

import pytest
from annotated_types import Ge

from allaprima.errors import UsageError
from allaprima.settings import nearest, read, write


@dataclass(frozen=True)
class Inner:
    steps: Annotated[int, Ge(1)] = 3
    rate: float = 0.5
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rate > 9:
            raise ValueError("the rate is more than anybody needs")


@dataclass(frozen=True)
class Outer:
    name: str
    train: Inner = field(default_factory=Inner)
    more: Inner | None = None
    several: tuple[Inner, ...] = ()


def words(table: dict[str, object]) -> str:
    with pytest.raises(UsageError) as caught:
        read(Outer, table, "x.toml")
    assert caught.value.code == "E_SETTING"
    return caught.value.what


def test_a_table_becomes_a_dataclass_and_back() -> None:
    table = {"name": "a", "train": {"steps": 2, "rate": 1, "names": ["b"]}, "several": [{"steps": 9}]}
    made = read(Outer, table, "x.toml")
    assert made == Outer("a", Inner(2, 1.0, ("b",)), None, (Inner(9),))
    assert read(Outer, write(made), "x.toml") == made


def test_unknown_keys_are_refused_at_every_depth_with_the_nearest() -> None:
    assert (
        words({"name": "a", "trian": {}})
        == "x.toml: the top level has no setting 'trian'; did you mean 'train'?"
    )
    assert "[train] has no setting 'stesp'; did you mean 'steps'?" in words(
        {"name": "a", "train": {"stesp": 2}}
    )
    assert "[more] has no setting 'stesp'" in words({"name": "a", "more": {"stesp": 2}})
    assert "has no setting 'stesp'" in words({"name": "a", "several": [{"stesp": 2}]})


@pytest.mark.parametrize("value", ["4", 4.5, True, None, [4]])
def test_a_value_of_another_type_is_refused_and_not_converted(value: object) -> None:
    assert "[train] steps" in words({"name": "a", "train": {"steps": value}})


def test_all_findings_come_at_once() -> None:
    said = words({"train": {"steps": 0}})
    assert "the top level needs a setting 'name'" in said
    assert "[train] steps = 0: input should be greater than or equal to 1" in said


def test_what_a_dataclass_says_of_itself_is_passed_on_without_the_table() -> None:
    assert words({"name": "a", "train": {"rate": 10.0}}).endswith("the rate is more than anybody needs")


def test_a_long_value_does_not_fill_the_screen() -> None:
    assert len(words({"name": list(range(1000))})) < 200


def test_nearest_is_silent_without_a_near_word() -> None:
    assert nearest("zzz", ["steps"]) == ""
    assert nearest("stepz", ["steps"]) == "; did you mean 'steps'?"
