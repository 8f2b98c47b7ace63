"""Secrets go, whatever they are wrapped in, and ordinary words stay."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_model_gateway.redact import MARK, Redactor

SECRET = 'canary"7/with\\odd+parts'


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer canary-0123456789",
        "authorization=Basic canary0123456789==",
        '{"authorization": "Bearer canary-0123456789"}',
        "OPENAI_API_KEY=canary-0123456789",
        '"api_key": "canary-0123456789"',
        "api-key: canary-0123456789",
        "x-api-key: canary-0123456789",
        "llama-server --api-key canary-0123456789 --port 1",
        "['--api-key', 'canary-0123456789']",
        "--hf-token=canary-0123456789",
        "HF_TOKEN: canary-0123456789",
        "password='canary-0123456789'",
        "client_secret=canary-0123456789&x=1",
        "access_token=canary-0123456789",
        "http://user:canary-0123456789@127.0.0.1:1/",
        "sk-canary-0123456789",
        "sk-proj-canary_0123456789",
        "hf_canary0123456789",
        "ghp_canary0123456789012345",
        "xoxb-canary-0123456789",
        "AKIACANARY0123456789".replace("CANARY", "CANARYCANARY"),
        "eyJcanary0123456789.eyJcanary0123456789.canary",
        "Cookie: canary-0123456789",
    ],
)
def test_what_looks_like_a_secret_goes(text: str) -> None:
    cleaned = Redactor()(text)
    assert "canary" not in cleaned.lower()
    assert MARK in cleaned
    assert Redactor()(cleaned) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens=512",
        '"max_tokens": 4096, "max_completion_tokens": 128',
        "prompt_tokens: 123456789",
        "tokens: 1234567 token_count=12345678",
        "token: 1234567, eos token id = 151645",
        "print_info: n_tokens = 32768.00",
        "tokenizer: qwen2-long-name",
        "the secret of its speed is batching",
        "password reset is not our business",
        "http://127.0.0.1:8787/v1/models",
        "keyboard: some-long-value",
        "a cookie for everybody",
        "bearer of news",
        "sk-1",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert Redactor([SECRET])(text) == text


@pytest.mark.parametrize("wrap", [str, json.dumps, lambda text: f"a{text}b"])
def test_a_known_secret_goes_whatever_it_is_wrapped_in(wrap: object) -> None:
    assert callable(wrap)
    cleaned = Redactor([SECRET])(f"before {wrap(SECRET)} after")
    assert "canary" not in cleaned
    assert cleaned.startswith("before ")
    assert cleaned.endswith(" after")


def test_of_two_secrets_that_begin_alike_both_go_whole() -> None:
    assert Redactor(["canary", "canary-long"])("canary-long canary") == f"{MARK} {MARK}"


def test_a_word_too_short_to_be_a_secret_is_left_alone() -> None:
    assert Redactor(["abc"])("abcdef") == "abcdef"


@given(st.text(alphabet="abAB0_-:= \"'.", max_size=300))
def test_any_text_is_cleaned_in_bounded_time_and_only_once(text: str) -> None:
    redactor = Redactor([SECRET])
    assert redactor(redactor(text)) == redactor(text)


@pytest.mark.parametrize(
    "piece", ["a_", "api_key", "token=", "Bearer ", "--", "a://b:", "eyJ", "sk-"]
)
def test_hostile_repetition_is_cleaned_too(piece: str) -> None:
    assert Redactor([SECRET])(piece * (200_000 // len(piece))) is not None
