"""Reading what people write - recipes, manifests - into frozen dataclasses, strictly.

pydantic does the reading; this file makes dataclasses strict and turns pydantic's findings into the user's
words: `[train] has no setting 'stesp'; did you mean 'steps'?`
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any, TypeVar, cast

from .errors import UsageError

__all__ = ["nearest", "read", "write"]

T = TypeVar("T")


def read(kind: type[T], table: Mapping[str, Any], where: str, inside: str = "") -> T:
    """Make a `kind` (a frozen dataclass, nested as deep as wanted) from a table of plain values.

    Types are strict (no `"3"` for 3; a whole number may stand for a float, a list for a tuple), unknown
    keys are refused. `where` names the file in the message, `inside` the table of it that is read, where it is
    not the whole. Raises UsageError E_SETTING with every finding.
    """
    from pydantic import ValidationError

    try:
        # As JSON, because pydantic is strict there about numbers and strings, yet takes a list for a tuple and
        # a table for a dataclass; in Python mode it is strict about all of them or none.
        adapter = _adapter(cast(Hashable, kind))
        made: T = adapter.validate_json(json.dumps(table, default=str), strict=True)
    except ValidationError as error:
        findings = [_in_words(kind, dict(finding), inside) for finding in error.errors(include_url=False)]
        raise UsageError(
            "E_SETTING", f"{where}: {'; '.join(findings)}", next="correct the file and try again"
        ) from None
    return made


def write(value: Any) -> Any:
    """The plain table (dicts, lists, numbers, strings, None) of a dataclass: what `read` reads."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: write(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: write(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [write(item) for item in value]
    return value


def nearest(word: str, words: typing.Iterable[str]) -> str:
    """`; did you mean 'steps'?`, or nothing where no known word is near."""
    near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    # One dataclass inherits nothing of another's configuration: each level has to forbid its own unknown keys.
    for part in _dataclasses_in(kind):
        part.__pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)
    return TypeAdapter(kind)


def _dataclasses_in(kind: Any) -> list[Any]:
    """`kind` and every dataclass that its fields can hold."""
    found: list[Any] = []

    def visit(hint: Any) -> None:
        if dataclasses.is_dataclass(hint) and hint not in found:
            found.append(hint)
            for part in typing.get_type_hints(hint).values():
                visit(part)
        for part in typing.get_args(hint):
            visit(part)

    visit(kind)
    return found


def _in_words(kind: type, finding: dict[str, Any], inside: str) -> str:
    *path, name = finding["loc"] or ("",)
    table = ".".join(str(step) for step in (inside, *path) if step != "")
    place = f"[{table}]" if table else "the top level"
    if finding["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = [field.name for field in dataclasses.fields(_kind_at(kind, path))]
        return f"{place} has no setting {name!r}{nearest(str(name), known)}"
    if finding["type"] in ("missing", "missing_argument"):
        return f"{place} needs a setting {name!r}"
    said = str(finding["msg"])
    if finding["type"] == "value_error":  # what a dataclass says of itself; its words are whole sentences
        return f"{place}: {said.removeprefix('Value error, ')}"
    given = repr(finding.get("input"))
    given = given if len(given) <= 60 else f"{given[:57]}..."
    return f"{place} {name} = {given}: {said[0].lower()}{said[1:]}"


def _kind_at(kind: Any, path: list[Any]) -> Any:
    """The dataclass that the table at `path` is read into."""
    for step in path:
        if dataclasses.is_dataclass(kind):
            kind = typing.get_type_hints(kind).get(str(step), kind)
        options = [kind, *typing.get_args(kind)] if not dataclasses.is_dataclass(kind) else [kind]
        origin = typing.get_origin(kind)
        if origin is types.UnionType or origin is typing.Union or not dataclasses.is_dataclass(kind):
            kind = next((option for option in options if dataclasses.is_dataclass(option)), kind)
    return kind
