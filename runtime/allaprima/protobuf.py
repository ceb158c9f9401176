"""Protobuf's wire format: as much of it as reading and rewriting an ONNX file takes.

A message is a row of fields: a tag (the field's number and kind), then a number or a run of bytes, which may be a
message again. Nothing here knows ONNX; the runtime has no use for the rest of protobuf's package.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["CutOff", "encoded", "fields", "message_of", "number_of", "numbers_of", "parts", "text_of"]

Value = int | memoryview
"""What a field holds: a number, or the bytes of everything else."""


class CutOff(ValueError):
    """A message that is shorter than it says."""

    def __init__(self, there: int, said: int) -> None:
        super().__init__(f"{there:,} of {said:,} bytes are there")
        self.there, self.said = there, said


def fields(message: memoryview) -> Iterator[tuple[int, Value]]:
    """Numbers and values of a message's fields, in their order. ValueError or IndexError for what is damaged."""
    for number, value, _ in parts(message):
        yield number, value


def parts(message: memoryview) -> Iterator[tuple[int, Value, memoryview]]:
    """The same, each with the bytes that it was written as: for whoever copies most of a message as it is."""
    at = 0
    while at < len(message):
        begin = at
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value, message[begin:at]
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError("not protobuf")
        if at + size > len(message):
            raise CutOff(len(message), at + size)
        yield tag >> 3, message[at : at + size], message[begin : at + size]
        at += size


def encoded(number: int, value: int | bytes | str) -> bytes:
    """One field as it is written: a number of at least 0, text, or the bytes of a message."""
    if isinstance(value, int):
        return _as_varint(number << 3) + _as_varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _as_varint(number << 3 | 2) + _as_varint(len(data)) + data


def number_of(value: Value | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("not a number")
    return value


def numbers_of(packed: Value) -> list[int]:
    """The numbers of a repeated field that is written as one run of bytes."""
    message, found, at = message_of(packed), [], 0
    while at < len(message):
        number, at = _varint(message, at)
        found.append(number)
    return found


def message_of(value: Value | bytes) -> memoryview:
    if isinstance(value, int):
        raise ValueError("not a message")
    return memoryview(value)


def text_of(value: Value | bytes) -> str:
    return bytes(message_of(value)).decode()


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("not protobuf")


def _as_varint(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
