"""Reads the few numbers of a GGUF file's header that tell how much memory it will need."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, TypeAlias

MAGIC = b"GGUF"
MOST_KEYS = 100_000
LONGEST_STRING = 1 << 20
LONGEST_ARRAY = 1 << 24

Value: TypeAlias = "int | float | bool | str | list[Value]"

_SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_STRING, _ARRAY = 8, 9


class NotGguf(Exception):
    """The file is not a GGUF file, or its header is cut short or absurd."""


def read(path: Path) -> Mapping[str, Value]:
    """The metadata before the tokenizer's, which is all that a footprint needs. Raises `NotGguf`, OSError."""
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise NotGguf(f"{path.name} is not a GGUF file")
        version, _tensors, keys = struct.unpack("<IQQ", _exactly(file, 20))
        if not 2 <= version <= 9 or keys > MOST_KEYS:
            raise NotGguf(f"{path.name} has a header that makes no sense")
        found: dict[str, Value] = {}
        for _ in range(keys):
            key = _string(file)
            # Vocabularies are megabytes, and everything of interest is written before them.
            if key.startswith("tokenizer."):
                break
            (kind,) = struct.unpack("<I", _exactly(file, 4))
            found[key] = _value(file, kind)
        return found


def _exactly(file: BinaryIO, size: int) -> bytes:
    raw = file.read(size)
    if len(raw) != size:
        raise NotGguf("the header is cut short")
    return raw


def _string(file: BinaryIO) -> str:
    (size,) = struct.unpack("<Q", _exactly(file, 8))
    if size > LONGEST_STRING:
        raise NotGguf("the header holds an absurd text")
    return _exactly(file, size).decode("utf-8", "replace")


def _value(file: BinaryIO, kind: int) -> Value:
    if kind == _STRING:
        return _string(file)
    if kind == _ARRAY:
        item, count = struct.unpack("<IQ", _exactly(file, 12))
        if count > LONGEST_ARRAY or item == _ARRAY:
            raise NotGguf("the header holds an absurd list")
        return [_value(file, item) for _ in range(count)]
    if kind not in _SCALARS:
        raise NotGguf("the header holds a value of an unknown type")
    form = _SCALARS[kind]
    value: int | float | bool = struct.unpack(form, _exactly(file, struct.calcsize(form)))[0]
    return value
