"""What happens to an engine's events on their way to a client."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes import event_stream, fold, http_relay

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def event(payload: dict[str, Any], separators: tuple[str, str] = (", ", ": ")) -> bytes:
    return b"data: " + json.dumps(payload, separators=separators).encode() + b"\n\n"


def delta(content: str | None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return {"id": "x", "model": "/models/a.gguf", "choices": [choice], **more}


def cleaner(**wanted: bool) -> event_stream.Cleaner:
    return event_stream.Cleaner("tiny", event_stream.Wanted(**wanted))


def payloads(out: bytes) -> list[Any]:
    lines = [line[6:] for line in out.split(b"\n\n") if line.startswith(b"data: {")]
    return [json.loads(line) for line in lines]


def test_what_came_in_one_block_leaves_in_one_block_untouched() -> None:
    block = event({**delta("a"), "model": "tiny"}) + event({**delta("b"), "model": "tiny"})

    assert cleaner().feed(block) is block


@given(st.lists(st.integers(0, 2000), max_size=12))
def test_cutting_the_bytes_elsewhere_changes_nothing(cuts: list[int]) -> None:
    wire = (
        event(delta(None))
        + event(delta("één\n\ndata: {"))
        + b": ping\n\n"
        + event(delta("", "stop"))
        + event({"model": "/models/a.gguf", "choices": [], "usage": USAGE})
        + event_stream.DONE
    )
    at = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    one, pieces = cleaner(), cleaner()

    whole = one.feed(wire) + one.end()
    cut_up = b"".join(pieces.feed(wire[a:b]) for a, b in itertools.pairwise(at) if a < b)

    assert cut_up + pieces.end() == whole
    assert pieces.told == one.told
    assert one.told.output_tokens == 2


def test_usage_that_was_not_asked_for_is_noted_and_taken_out() -> None:
    stream = cleaner()

    out = stream.feed(event({"choices": [], "model": "m", "usage": USAGE}))

    assert out == b""
    assert (stream.told.prompt_tokens, stream.told.output_tokens) == (3, 2)


def test_usage_inside_the_last_piece_is_taken_out_of_it() -> None:
    out = cleaner().feed(event({**delta("b", "stop"), "usage": USAGE}))

    assert payloads(out) == [{**delta("b", "stop"), "model": "tiny"}]


def test_usage_that_was_asked_for_stays() -> None:
    out = cleaner(usage=True).feed(event({"choices": [], "model": "m", "usage": USAGE}))

    assert payloads(out)[0]["usage"] == USAGE


def test_usage_that_was_asked_for_stays_when_timings_beside_it_go() -> None:
    both = {"choices": [], "model": "m", "usage": USAGE, "timings": {"predicted_per_second": 9}}

    assert payloads(cleaner(usage=True).feed(event(both))) == [
        {"choices": [], "model": "tiny", "usage": USAGE}
    ]


def test_timings_and_prefill_progress_are_used_and_not_leaked() -> None:
    stream = cleaner()
    progress = {"total": 100, "cache": 0, "processed": 40, "time_ms": 5}

    first = stream.feed(event({"choices": [], "prompt_progress": progress}))
    last = stream.feed(event({**delta("", "stop"), "timings": {"predicted_per_second": 31.5}}))

    assert first == b""
    assert b"timings" not in last
    assert stream.told.prefill == (40, 100)
    assert stream.told.decode_tokens_per_s == 31.5


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_the_model_is_called_what_the_client_called_it(separators: tuple[str, str]) -> None:
    stream = cleaner()

    out = stream.feed(event(delta('"model": "/models/a.gguf"'), separators)) + stream.feed(
        event(delta("b"), separators)
    )

    assert [payload["model"] for payload in payloads(out)] == ["tiny", "tiny"]
    assert payloads(out)[0]["choices"][0]["delta"]["content"] == '"model": "/models/a.gguf"'


def test_windows_line_ends_are_understood() -> None:
    stream = cleaner()
    wire = (event(delta("a", "stop")) + event_stream.DONE).replace(b"\n\n", b"\r\n\r\n")

    out = b"".join(stream.feed(wire[i : i + 1]) for i in range(len(wire))) + stream.end()

    assert payloads(out)[0]["choices"][0]["delta"]["content"] == "a"
    assert out.endswith(event_stream.DONE)


def test_a_missing_done_is_added_when_the_generation_said_why_it_ended() -> None:
    stream = cleaner()
    stream.feed(event(delta("a", "stop")))

    assert stream.end() == event_stream.DONE


def test_an_end_without_a_reason_is_a_break_and_never_a_success() -> None:
    stream = cleaner()
    stream.feed(event(delta("a")))

    with pytest.raises(http_relay.UpstreamError) as caught:
        stream.end()
    assert caught.value.kind == "broke_mid_stream"


@pytest.mark.parametrize(
    "wire",
    [
        b'data: {"choices": [{"del\xff\x00\n\n',
        b"not an event at all\n\n",
        b"data: [1]\n\n",
        b'data: {"a":\n\n',
    ],
)
def test_garbage_is_seen(wire: bytes) -> None:
    with pytest.raises(http_relay.UpstreamError) as caught:
        cleaner().feed(wire)
    assert caught.value.kind == "garbage"


@pytest.mark.parametrize(
    "wire",
    [
        b'data: {"error": {"message": "out of slots", "code": 500}}\n\n',
        b'event: error\ndata: {"error": "out of slots"}\n\n',
    ],
)
def test_an_error_inside_the_stream_is_seen(wire: bytes) -> None:
    with pytest.raises(event_stream.EngineSaid) as caught:
        cleaner().feed(wire)
    assert caught.value.error["message"] == "out of slots"


def test_an_event_without_an_end_does_not_fill_the_memory() -> None:
    stream = cleaner()

    def flood() -> None:
        for _ in range(1000):
            stream.feed(b"x" * 65536)

    with pytest.raises(http_relay.UpstreamError):
        flood()


def test_the_first_piece_of_an_answer_is_told_from_what_comes_before_it() -> None:
    stream = cleaner()

    stream.feed(event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]}))
    assert not stream.began
    stream.feed(event(delta("a")))
    assert stream.began


# ---- folding -----------------------------------------------------------------------------------


def folded(*events: dict[str, Any], end: bytes = event_stream.DONE) -> dict[str, Any]:
    folding = fold.Fold("tiny", event_stream.Wanted())
    for each in events:
        folding.feed(event(each))
    folding.feed(end)
    return dict(json.loads(folding.completion()))


def test_a_folded_chat_is_what_the_engine_would_have_sent_whole() -> None:
    chunk: dict[str, Any] = {"object": "chat.completion.chunk", "created": 7}

    whole = folded(
        delta(None, **chunk),
        delta("Good", **chunk),
        delta("bye", "stop", **chunk),
        {**delta(None), "choices": [], "usage": USAGE, "timings": {"x": 1}},
    )

    assert whole == {
        "id": "x",
        "object": "chat.completion",
        "created": 7,
        "model": "tiny",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Goodbye"},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": USAGE,
    }


def test_tool_calls_are_put_together_by_their_index() -> None:
    def piece(*calls: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {
            "choices": [{"index": 0, "delta": {"tool_calls": list(calls)}, "finish_reason": finish}]
        }

    first = {"index": 0, "id": "c0", "type": "function", "function": {"name": "f", "arguments": ""}}
    second = {
        "index": 1,
        "id": "c1",
        "type": "function",
        "function": {"name": "g", "arguments": "{}"},
    }
    whole = folded(
        piece(first),
        piece({"index": 0, "function": {"arguments": '{"a":'}}),
        piece(second),
        piece({"index": 0, "function": {"arguments": "1}"}}, finish="tool_calls"),
    )

    message = whole["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {"id": "c0", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"id": "c1", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


def test_several_choices_logprobs_and_reasoning_are_kept_apart() -> None:
    def piece(index: int, text: str, finish: str | None = None) -> dict[str, Any]:
        logprobs = {"content": [{"token": text}]}
        part = {"content": text, "reasoning_content": "r"}
        return {
            "choices": [
                {"index": index, "delta": part, "logprobs": logprobs, "finish_reason": finish}
            ]
        }

    whole = folded(piece(1, "b"), piece(0, "a"), piece(1, "B", "stop"), piece(0, "A", "length"))

    assert [choice["message"]["content"] for choice in whole["choices"]] == ["aA", "bB"]
    assert [choice["finish_reason"] for choice in whole["choices"]] == ["length", "stop"]
    assert whole["choices"][0]["logprobs"] == {"content": [{"token": "a"}, {"token": "A"}]}
    assert whole["choices"][0]["message"]["reasoning_content"] == "rr"


def test_a_completion_is_folded_too() -> None:
    whole = folded(
        {"object": "text_completion", "choices": [{"index": 0, "text": "a"}]},
        {"object": "text_completion", "choices": [{"index": 0, "text": "b", "finish_reason": "x"}]},
    )

    assert whole["object"] == "text_completion"
    assert whole["choices"][0]["text"] == "ab"


def test_a_stream_that_stops_short_is_never_folded_into_a_success() -> None:
    with pytest.raises(http_relay.UpstreamError):
        folded(delta("half"), end=b"")
