"""What each verb asks the gateway for, what it says about it, and how it exits."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from local_model_gateway import announcement
from tests.cli import stub

EVENTS = (
    b": queued position=3 eta=42s\n\n",
    b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"Hello"}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":" you"},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[],"usage":{"completion_tokens":2,"prompt_tokens":5}}\n\n',
    b"data: [DONE]\n\n",
)


@pytest.mark.parametrize(
    ("words", "schema"),
    [
        (("status",), "lmg.status/1"),
        (("ps",), "lmg.ps/1"),
        (("models",), "lmg.models/1"),
        (("queue",), "lmg.queue/1"),
        (("queue", "ls"), "lmg.queue/1"),
        (("jobs",), "lmg.jobs/1"),
        (("logs", "--source", "tiny"), "lmg.logs/1"),
        (("load", "tiny", "--estimate"), "lmg.load.estimate/1"),
    ],
)
async def test_every_verb_that_reads_has_json_with_a_schema_id(
    tmp_path: Path, words: tuple[str, ...], schema: str
) -> None:
    shell = stub.shell(tmp_path)
    async with stub.served() as gateway:
        machine = await shell.here(*words, "--json", "--url", gateway.url)
        person = await shell.here(*words, "--url", gateway.url)
    assert (machine.code, machine.err) == (0, "")
    assert machine.json["schema"] == schema
    assert (person.code, person.err) == (0, "")
    assert "\x1b" not in person.out
    assert "{" not in person.out


async def test_the_status_names_what_runs_waits_and_failed(tmp_path: Path) -> None:
    async with stub.served() as gateway:
        ran = await stub.shell(tmp_path).here("status", "--url", gateway.url)
    assert "running, pid 1, up 3:10 min" in ran.out
    assert "1 of 2 models loaded" in ran.out
    assert "1 running, 1 waiting; next is tiny in 9.0 s to 1:50 min" in ran.out
    assert "3.0 GiB of 8.0 GiB" in ran.out
    assert "1 failed, 12 succeeded" in ran.out
    assert "big: oom" in ran.out


async def test_the_queue_says_what_is_waited_for(tmp_path: Path) -> None:
    async with stub.served() as gateway:
        ran = await stub.shell(tmp_path).here("queue", "--url", gateway.url)
    assert "a swap of big" in ran.out
    assert "work_a" in ran.out
    assert "work_r" in ran.out


@pytest.mark.parametrize(
    ("words", "asked", "says"),
    [
        (("queue", "pause"), ("POST", "/admin/queue/pause", {}), "paused"),
        (("queue", "resume"), ("POST", "/admin/queue/resume", {}), "going on"),
        (("queue", "cancel", "work_a"), ("POST", "/admin/work/work_a/cancel", {}), "cancelled"),
        (
            ("queue", "priority", "work_a", "high"),
            ("POST", "/admin/work/work_a/priority", {"priority": 80}),
            "priority 80",
        ),
        (("load", "tiny"), ("POST", "/admin/runtimes/tiny/load", {}), "tiny is ready"),
        (
            ("load", "tiny", "--keep", "10m"),
            ("POST", "/admin/runtimes/tiny/load", {"keep_s": 600.0}),
            "tiny is ready",
        ),
        (
            ("unload", "tiny"),
            ("POST", "/admin/runtimes/tiny/unload", {"now": False}),
            "answering 2 requests",
        ),
        (
            ("unload", "tiny", "--now"),
            ("POST", "/admin/runtimes/tiny/unload", {"now": True}),
            "tiny",
        ),
    ],
)
async def test_a_verb_that_acts_asks_for_exactly_that(
    tmp_path: Path, words: tuple[str, ...], asked: tuple[str, str, object], says: str
) -> None:
    async with stub.served() as gateway:
        ran = await stub.shell(tmp_path).here(*words, "--url", gateway.url)
    assert (ran.code, ran.err) == (0, "")
    assert gateway.asked == [asked]
    assert says in ran.out


async def test_run_prints_the_answer_and_where_the_time_went(tmp_path: Path) -> None:
    async with stub.served(events=EVENTS) as gateway:
        ran = await stub.shell(tmp_path).lmg(
            "run", "tiny", "Say hello", "--url", gateway.url, "--max-wait", "2m"
        )
    assert (ran.code, ran.out) == (0, "Hello you\n")
    assert "tiny · queued 1.5 s · load 2.5 s · first token" in ran.err
    assert "2 tokens" in ran.err
    _, _, body = gateway.asked[0]
    assert body["messages"] == [{"role": "user", "content": "Say hello"}]
    assert body["max_queue_wait_s"] == 120.0


async def test_run_as_json_is_one_object(tmp_path: Path) -> None:
    async with stub.served(events=EVENTS) as gateway:
        ran = await stub.shell(tmp_path).lmg("run", "tiny", "hi", "--json", "--url", gateway.url)
    assert (ran.code, ran.err) == (0, "")
    assert ran.json["schema"] == "lmg.run/1"
    assert (ran.json["text"], ran.json["finish_reason"]) == ("Hello you", "stop")
    assert ran.json["usage"]["completion_tokens"] == 2
    assert (ran.json["queue_ms"], ran.json["load_ms"]) == (1500, 2500)


@pytest.mark.parametrize(
    ("words", "sent"),
    [(("-",), "from a pipe"), ((), "from a pipe"), (("Say",), "Say\n\nfrom a pipe")],
)
async def test_run_reads_standard_input(tmp_path: Path, words: tuple[str, ...], sent: str) -> None:
    async with stub.served(events=EVENTS) as gateway:
        await stub.shell(tmp_path).lmg(
            "run", "tiny", *words, "--url", gateway.url, stdin=b"from a pipe"
        )
    assert gateway.asked[0][2]["messages"][0]["content"] == sent


@pytest.mark.parametrize(
    "events", [EVENTS[:-1], (*EVENTS[:3], b'data: {"error":{"message":"the engine died"}}\n\n')]
)
async def test_an_answer_that_breaks_off_is_no_success(
    tmp_path: Path, events: tuple[bytes, ...]
) -> None:
    async with stub.served(events=events) as gateway:
        ran = await stub.shell(tmp_path).lmg("run", "tiny", "hi", "--url", gateway.url)
    assert ran.code == 1
    assert "broke off" in ran.err or "the engine died" in ran.err


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        ((404, "model_not_found", "no model 'x'; did you mean tiny?"), 5),
        ((401, "invalid_api_key", "a key is needed"), 6),
        ((403, "origin_not_allowed", "no"), 6),
        ((429, "queue_full", "500 requests are waiting"), 6),
        ((504, "queue_timeout", "waited 10 s behind big"), 7),
        ((503, "engine_load_failed", "tiny ended with exit code 1"), 1),
        ((500, "internal_error", "its log says why"), 1),
    ],
)
async def test_a_refusal_is_said_in_the_gateways_words_and_has_its_exit_code(
    tmp_path: Path, refusal: tuple[int, str, str], code: int
) -> None:
    async with stub.served(refuse=refusal) as gateway:
        shell = stub.shell(tmp_path)
        person = await shell.lmg("run", "x", "hi", "--url", gateway.url)
        machine = await shell.lmg("run", "x", "hi", "--json", "--url", gateway.url)
    assert (person.code, person.out) == (code, "")
    assert person.err.strip() == refusal[2]
    assert machine.code == code
    assert machine.json["error"]["message"] == refusal[2]


@pytest.mark.parametrize("verb", [["status"], ["ps"], ["run", "tiny", "hi"], ["unload", "x"]])
async def test_without_a_gateway_the_command_that_starts_one_is_named(
    tmp_path: Path, verb: list[str]
) -> None:
    ran = await stub.shell(tmp_path).lmg(*verb, "--url", "http://127.0.0.1:9")
    assert ran.code == 3
    assert ran.err.strip() == "No gateway runs at http://127.0.0.1:9. Start one: lmg up"


async def test_stopping_what_does_not_run_is_no_failure(tmp_path: Path) -> None:
    ran = await stub.shell(tmp_path).lmg("down", "--json", "--url", "http://127.0.0.1:9")
    assert (ran.code, ran.json["was_running"]) == (0, False)


async def test_too_big_a_model_is_told_before_it_is_loaded(tmp_path: Path) -> None:
    async with stub.served() as gateway:
        ran = await stub.shell(tmp_path).lmg("load", "big", "--estimate", "--url", gateway.url)
        unknown = await stub.shell(tmp_path).lmg("load", "nope", "--estimate", "--url", gateway.url)
    assert ran.code == 6
    assert "90.0 GiB" in ran.out
    assert "does not fit into 8.0 GiB" in ran.out
    assert unknown.code == 5


def test_a_process_that_only_waits_to_be_collected_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as child:
        deadline = time.monotonic() + 30
        while announcement.alive(child.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not announcement.alive(child.pid)
        os.kill(child.pid, 0)  # it is still there to be collected
