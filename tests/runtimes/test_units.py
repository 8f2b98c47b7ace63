"""Durations and sizes as people write them."""

import pydantic
import pytest

from runtimes import units

duration = pydantic.TypeAdapter(units.Duration, config=pydantic.ConfigDict(strict=True))
size = pydantic.TypeAdapter(units.Size, config=pydantic.ConfigDict(strict=True))


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("250ms", 0.25), ("30s", 30), ("10m", 600), ("1.5h", 5400), ("7d", 604800), (12, 12), (0, 0)],
)
def test_a_duration_is_seconds(written: object, seconds: float) -> None:
    assert duration.validate_python(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("written", "size_bytes"),
    [("512MiB", 512 << 20), ("24GiB", 24 << 30), ("1.5KiB", 1536), ("7B", 7), (4096, 4096)],
)
def test_a_size_is_bytes(written: object, size_bytes: int) -> None:
    assert size.validate_python(written) == size_bytes


@pytest.mark.parametrize(
    "written", ["10", "10 m", "-5s", "1h30m", "m", "", "\u0661\u0660s", True, -1, float("inf")]
)
def test_what_is_no_duration_is_refused(written: object) -> None:
    with pytest.raises(pydantic.ValidationError):
        duration.validate_python(written)


@pytest.mark.parametrize("written", ["24", "24 GiB", "-1GiB", "1e9B", 1.5, False, -1])
def test_what_is_no_size_is_refused(written: object) -> None:
    with pytest.raises(pydantic.ValidationError):
        size.validate_python(written)


def test_a_decimal_unit_is_answered_with_the_binary_one() -> None:
    with pytest.raises(ValueError, match="'24GB' is not a size; write it like 24GiB"):
        units.parse_size("24GB")
