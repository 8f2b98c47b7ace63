"""What is read of a request, and what is refused before anything waits."""

from typing import Any

import pydantic_core
import pytest

from openai_shim import errors, reading


def scope(**headers: str) -> dict[str, Any]:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "headers": pairs}


def asked(fields: dict[str, Any], **headers: str) -> reading.Asked:
    return reading.asked(scope(**headers), {"model": "tiny", **fields})


def test_the_extras_are_read_from_the_body() -> None:
    found = asked({"priority": "interactive", "max_queue_wait_s": 5, "run_timeout_s": 2.5})

    assert (found.priority, found.max_queue_wait_s, found.run_timeout_s) == (80, 5.0, 2.5)


def test_the_extras_are_read_from_headers_where_the_body_is_silent() -> None:
    found = asked(
        {"priority": 7},
        x_lmg_priority="90",
        x_lmg_max_queue_wait_s="12",
        x_lmg_run_timeout_s="3",
        x_lmg_keepalive="whitespace",
        prefer="respond-async, wait=5",
        idempotency_key="k1",
    )

    assert (found.priority, found.max_queue_wait_s, found.run_timeout_s) == (7, 12.0, 3.0)
    assert found.whitespace
    assert found.respond_async
    assert found.idempotency_key == "k1"


def test_a_name_is_compared_in_its_composed_form() -> None:
    assert asked({"model": "mode\u0301le"}).model == "mod\u00e9le"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 7}, "model"),
        ({"model": ""}, "model"),
        ({"model": "a\x00b"}, "model"),
        ({"model": "a" * 201}, "model"),
        ({"model": "a\u202eb"}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"tools": {}}, "tools"),
        ({"stop": 5}, "stop"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"n": 0}, "n"),
        ({"n": 1.5}, "n"),
        ({"max_tokens": -2}, "max_tokens"),
        ({"max_tokens": 2**40}, "max_tokens"),
        ({"num_ctx": -1}, "num_ctx"),
        ({"anything": 2**70}, "anything"),
        ({"priority": 101}, "priority"),
        ({"priority": "high"}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": 1.5}, "priority"),
        ({"max_queue_wait_s": -1}, "max_queue_wait_s"),
        ({"max_queue_wait_s": "soon"}, "max_queue_wait_s"),
        ({"run_timeout_s": 0}, "run_timeout_s"),
        ({"run_timeout_s": 10**30}, "run_timeout_s"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        asked(fields)

    assert caught.value.param == param
    assert param in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[]",
        b"1",
        b"null",
        b'"text"',
        b'{"a":1',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":"\\ud800"}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":"\xff\xfe"}',
        b'{"a":"\x00"}',
        b'{"a":1}{"b":2}',
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}",
        b'{"a":[' + b"[]," * 300_000 + b"1]}",
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(errors.InvalidRequest):
        reading.parse(body)


@pytest.mark.parametrize("body", [b'{"a":1e400}', b'{"a":[{"b":-1e999}]}'])
def test_a_number_that_overflows_is_refused_where_it_would_be_written(body: bytes) -> None:
    fields = reading.parse(body)

    with pytest.raises(errors.InvalidRequest):
        reading.finite(fields, pydantic_core.to_json(fields))


def test_the_word_infinity_in_a_prompt_is_no_number() -> None:
    fields = reading.parse(b'{"a":"Infinity and 1e400","b":1e10}')
    written = pydantic_core.to_json(fields)

    assert reading.finite(fields, written) is written


@pytest.mark.parametrize(
    "messages",
    [None, [], "hello", [1], [{}], [{"role": 1}], [{"role": "user", "content": 5}],
     [{"role": "user", "content": [1]}], {"role": "user"}],
)  # fmt: skip
def test_what_is_no_conversation_is_refused(messages: object) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        reading.messages({"messages": messages})

    assert (caught.value.param or "").startswith("messages")
