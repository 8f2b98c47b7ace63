"""The table from errors to answers: status, code, shape, and whether a retry is invited."""

import json
from typing import Any

import pytest

from coordinator import errors as coordinator_errors
from openai_shim import errors
from runtimes import errors as runtimes_errors
from runtimes import event_stream, upstream

LOG = ("loading weights", "CUDA error: out of memory")

TABLE: list[tuple[Exception, int, str, str | None, str | None]] = [
    # error, status, code, retry-after, x-should-retry
    (errors.InvalidRequest("no", "model"), 400, "invalid_request", None, "false"),
    (errors.UnsupportedFeature("no", "input[0]"), 400, "unsupported", None, "false"),
    (runtimes_errors.UnknownModel("x", ["a", "b"]), 404, "model_not_found", None, "false"),
    (coordinator_errors.QueueFull(500, 12.3, False), 429, "queue_full", "13", None),
    (coordinator_errors.QueueFull(500, 300.0, True), 429, "queue_full", "300", "false"),
    (coordinator_errors.QueueFull(500, None, False), 429, "queue_full", "30", None),
    (coordinator_errors.QueueTimeout(9.5, "behind a"), 504, "queue_timeout", None, "false"),
    (coordinator_errors.RunTimeout(3), 504, "run_timeout", None, "false"),
    (
        coordinator_errors.RuntimeFailed("a", "oom", 1, LOG, 7.2),
        503,
        "engine_load_failed",
        "8",
        "false",
    ),
    (coordinator_errors.RuntimeRemoved("a"), 404, "model_not_found", None, "false"),
    (coordinator_errors.ShuttingDown(5), 503, "shutting_down", "5", None),
    (coordinator_errors.StorageUnavailable("full"), 503, "storage_unavailable", None, "false"),
    (coordinator_errors.WorkCancelled("work_1", "its owner"), 499, "cancelled", None, "false"),
    (coordinator_errors.NoSuchWork("work_1"), 404, "not_found", None, "false"),
    (
        coordinator_errors.IdempotencyConflict("k", "work_1"),
        409,
        "idempotency_conflict",
        None,
        "false",
    ),
    (upstream.UpstreamError("refused", "x"), 502, "upstream_error", None, None),
    (upstream.UpstreamError("broke_mid_stream", "x"), 502, "upstream_error", None, "false"),
    (event_stream.EngineSaid({"message": "no"}), 502, "upstream_error", None, "false"),
    (errors.of_engine(500, b""), 502, "upstream_error", None, "false"),
    (errors.of_engine(400, b'{"error":{"code":400}}'), 400, "engine_refused", None, "false"),
    (ValueError("/home/ann/secret"), 500, "internal_error", None, None),
]


@pytest.mark.parametrize(
    ("error", "status", "code", "retry_after", "should_retry"),
    TABLE,
    ids=[f"{type(row[0]).__name__}-{number}" for number, row in enumerate(TABLE)],
)
def test_each_error_has_its_answer(
    error: Exception, status: int, code: str, retry_after: str | None, should_retry: str | None
) -> None:
    told = errors.answer(error)
    headers = {name.decode(): value.decode() for name, value in told.headers()}
    made = json.loads(told.body())["error"]

    assert (told.status, made["code"]) == (status, code)
    assert list(made)[:5] == ["message", "type", "code", "param", "src"]
    assert made["message"]
    assert headers.get("retry-after") == retry_after
    assert headers.get("x-should-retry") == should_retry


def test_every_error_of_the_coordinator_has_a_row_of_its_own() -> None:
    startup_only = {
        coordinator_errors.Refused,
        coordinator_errors.Waited,
        coordinator_errors.OwnedElsewhere,
        coordinator_errors.OwnershipLost,
    }

    def family(kind: type[Any]) -> set[type[Any]]:
        return {kind}.union(*(family(child) for child in kind.__subclasses__()))

    known = {
        kind
        for kind in family(coordinator_errors.CoordinatorError)
        if kind.__module__ == coordinator_errors.__name__
    }
    covered = {type(row[0]) for row in TABLE}

    assert known - startup_only - {coordinator_errors.CoordinatorError} <= covered


def test_a_failed_load_tells_exit_code_class_and_log() -> None:
    told = errors.answer(coordinator_errors.RuntimeFailed("a", "oom", 137, LOG, 4))

    assert told.details == {
        "runtime": "a",
        "failure_class": "oom",
        "exit_code": 137,
        "log_tail": list(LOG),
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "too long", "type": "exceed_context_size_error"}}', "too long"),
        (b'{"error": "plain"}', "plain"),
        (b'{"detail": "Server is pinned"}', "Server is pinned"),
        (b"<html>", "The engine answered 400."),
        (b"[]", "The engine answered 400."),
        (b'{"error": {"message": "a\\nTraceback (most recent call last)"}}', "a"),
        (b'{"error": "cannot open /home/ann/models/x.gguf now"}', "cannot open x.gguf now"),
    ],
)
def test_an_engines_words_are_passed_on_without_traces_and_folders(
    body: bytes, message: str
) -> None:
    told = errors.answer(errors.of_engine(400, body))

    assert told.message == message
    assert told.src == "engine"


def test_the_same_error_is_the_same_bytes() -> None:
    error = coordinator_errors.QueueFull(5, 1.0, True)

    assert errors.answer(error).body() == errors.answer(error).body()
