"""What an engine is sent, and what it is never sent."""

import json
from typing import Any

import pytest

from runtimes import base, request_body


def spec(**quirks: Any) -> base.RuntimeSpec:
    return base.RuntimeSpec(
        "tiny", "fake", ("tiny", "small"), "upstream-name", quirks=base.Quirks(**quirks)
    )


def sent(fields: dict[str, Any], path: str = request_body.CHAT, **quirks: Any) -> dict[str, Any]:
    return dict(json.loads(request_body.for_engine(spec(**quirks), path, fields)))


def test_a_chat_is_always_streamed_with_usage_under_the_engines_own_name() -> None:
    body = sent({"model": "small", "messages": [], "stream": False})

    assert body == {
        "model": "upstream-name",
        "messages": [],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_embeddings_are_not_streamed() -> None:
    body = sent({"model": "small", "input": "x", "stream": True}, request_body.EMBEDDINGS)

    assert body == {"model": "upstream-name", "input": "x"}


def test_fields_that_nobody_here_knows_pass_through() -> None:
    assert sent({"mirostat": 2, "min_p": 0.05})["mirostat"] == 2


@pytest.mark.parametrize(
    "field", sorted(request_body.OURS | request_body.ROUTING | request_body.ENGINE_PRIVATE)
)
def test_routing_credentials_slots_and_files_never_reach_an_engine(field: str) -> None:
    assert field not in sent({"model": "small", "messages": [], field: "x"})


def test_a_strict_engine_gets_standard_fields_only() -> None:
    body = sent({"messages": [], "mirostat": 2, "temperature": 0}, strict_fields=True)

    assert "mirostat" not in body
    assert body["temperature"] == 0


def test_usage_is_not_asked_of_an_engine_that_cannot_tell_it() -> None:
    assert "stream_options" not in sent({"messages": []}, usage_in_stream=False)


def test_prefill_progress_is_asked_of_an_engine_that_reports_it() -> None:
    assert sent({"messages": []}, prompt_progress=True)["return_progress"] is True


def test_the_clients_own_stream_options_are_kept() -> None:
    options = {"include_usage": False, "continuous_usage_stats": True}

    assert sent({"stream_options": options})["stream_options"] == {**options, "include_usage": True}


def test_numbers_and_text_survive_unchanged() -> None:
    fields = {"temperature": 0.1, "seed": 9007199254740993, "user": "é\u2028\x7f\\n", "top_p": 1e-7}

    body = sent(dict(fields))

    assert {key: body[key] for key in fields} == fields
