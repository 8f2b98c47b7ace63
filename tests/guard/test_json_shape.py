"""The shape of JSON is judged by counting, exactly, and in time that the bytes alone decide."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_model_gateway import json_shape

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab"\\[]{},:é\n'),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('a"\\[{'), inner, max_size=4)
    ),
    max_leaves=40,
)


def depth(value: object) -> int:
    inner = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    )
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@given(JSON, st.integers(0, 6), st.booleans())
def test_the_depth_is_counted_as_a_parser_would(value: object, limit: int, plain: bool) -> None:
    body = json.dumps(value, ensure_ascii=plain).encode()
    assert json_shape._deeper_than(body, limit) is (depth(value) > limit)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b"[{" * 33 + b"}]" * 33,
        b"[" * 1_000_000,
        b"]" * 10 + b"[" * 100,
        b'"\\"[' + b'"' + b"[" * 100,
        b"[" + b"," * json_shape.MAX_TOKENS + b"]",
        b"[],[]," * 200_000,
    ],
)
def test_too_much_is_refused(body: bytes) -> None:
    with pytest.raises(json_shape.TooComplex):
        json_shape.check(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"not json at all",
        b"[" * 64 + b"]" * 64,
        json.dumps({"text": "[" * 10_000}).encode(),
        json.dumps({"text": '\\"[' * 10_000}).encode(),
        json.dumps([[n] for n in range(10_000)]).encode(),
    ],
)
def test_what_a_parser_can_bear_passes(body: bytes) -> None:
    json_shape.check(body)


@pytest.mark.parametrize("piece", [b'\\"', b'"', b"\\", b"[]", b"[", b"{", b'"[', b"a"])
def test_hostile_repetition_takes_no_more_than_linear_time(piece: bytes) -> None:
    body = b"[" * 65 + piece * (400_000 // len(piece))
    with contextlib.suppress(json_shape.TooComplex):
        json_shape.check(body)
