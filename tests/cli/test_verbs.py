"""What each verb asks the gateway for, what it says about it, and how it exits."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from local_model_gateway import announcement
from local_model_gateway.commands import unload
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
        (("load", "small"), ("POST", "/admin/runtimes/tiny/load", {}), "tiny was ready already"),
        (
            ("load", "tiny", "--keep", "10m"),
            ("POST", "/admin/runtimes/tiny/load", {"keep_s": 600.0}),
            "tiny was ready already, kept for 10:00 min",
        ),
        (
            ("unload", "tiny"),
            ("POST", "/admin/runtimes/tiny/unload", {"now": False}),
            "tiny is answering 2 requests (oldest 0:33). It will unload when they end.\n"
            "Use --now to cut them off.\n",
        ),
        (
            ("unload", "tiny", "--now"),
            ("POST", "/admin/runtimes/tiny/unload", {"now": True}),
            "tiny is unloading; 2 answers cut off; 3.0 GiB come back\n",
        ),
    ],
)
async def test_a_verb_that_acts_asks_for_exactly_that(
    tmp_path: Path, words: tuple[str, ...], asked: tuple[str, str, object], says: str
) -> None:
    async with stub.served() as gateway:
        ran = await stub.shell(tmp_path).here(*words, "--url", gateway.url)
    assert (ran.code, ran.err) == (0, "")
    assert [each for each in gateway.asked if each[0] == "POST"] == [asked]
    assert says in ran.out


async def test_run_prints_the_answer_and_where_the_time_went(tmp_path: Path) -> None:
    async with stub.served(events=EVENTS) as gateway:
        ran = await stub.shell(tmp_path).lmg(
            "run", "tiny", "Say hello", "--url", gateway.url, "--max-wait", "2m"
        )
    assert (ran.code, ran.out) == (0, "Hello you\n")
    assert "tiny · queued 1.5 s · load 2.5 s · first token" in ran.err
    assert "2 tokens" in ran.err
    ((_, _, body),) = gateway.asked  # where nobody watches, nothing is looked at
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


THOUGHT = (
    b'data: {"choices":[{"delta":{"reasoning_content":"Hm."}}]}\n\n',
    b'data: {"choices":[{"delta":{},"finish_reason":"length"}]}\n\n',
    b'data: {"choices":[],"usage":{"completion_tokens":3}}\n\n',
    b"data: [DONE]\n\n",
)


async def test_a_thought_is_not_the_answer_and_is_no_silence_either(tmp_path: Path) -> None:
    async with stub.served(events=THOUGHT) as gateway:
        shell = stub.shell(tmp_path)
        person = await shell.lmg("run", "tiny", "hi", "--url", gateway.url)
        machine = await shell.lmg("run", "tiny", "hi", "--json", "--url", gateway.url)
    assert (person.code, person.out) == (0, "(tiny said nothing)\n")
    assert machine.json["text"] == ""
    assert machine.json["first_token_s"] is not None


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
        ((403, "forbidden", "this key may only look"), 6),
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
    assert refusal[2] in person.err
    assert machine.code == code
    assert refusal[2] in machine.json["error"]["message"]


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


MAVERICK = {"name": "llama-4-maverick", "aliases": ["maverick"], "state": "stopped"}
LARGE: dict[str, Any] = {
    **stub.STATUS,
    "pool_bytes": 118 * 1024**3,
    "runtimes": [
        {**stub.RUNTIME, **MAVERICK, "footprint_bytes": 131 * 1024**3},
        {**stub.RUNTIME, "name": "minimax-m2.7", "aliases": [], "footprint_bytes": 92 * 1024**3},
        {**stub.RUNTIME, "name": "gpt-oss-120b", "aliases": [], "footprint_bytes": 63 * 1024**3},
        {**stub.RUNTIME, "name": "unmeasured", "aliases": [], "footprint_bytes": None},
    ],
}
MEMORY = {"total_bytes": 122 * 1024**3, "reserve_bytes": 4 * 1024**3}


@pytest.mark.parametrize("options", [(), ("--estimate",)])
async def test_too_big_a_model_is_refused_with_what_fits_instead(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    shell = stub.shell(tmp_path)
    async with stub.served(status={**LARGE, "memory": MEMORY}) as gateway:
        ran = await shell.here("load", "llama-4-maverick", *options, "--url", gateway.url)
        machine = await shell.here("load", "maverick", *options, "--json", "--url", gateway.url)
    assert ran.code == machine.code == 6
    assert ran.out + ran.err == (
        "llama-4-maverick needs about 131 GiB; this machine has 122 and 4 are kept free.\n"
        "Smaller ones that fit: gpt-oss-120b (63 GiB), minimax-m2.7 (92 GiB)\n"
    )
    if options:
        assert (machine.json["schema"], machine.json["fits"]) == ("lmg.load.estimate/1", False)
    else:
        assert machine.json["error"]["code"] == "refused"
    assert {method for method, _, _ in gateway.asked} == {"GET"}


async def test_where_only_the_pool_is_known_nothing_is_said_of_the_machine(tmp_path: Path) -> None:
    async with stub.served(status=LARGE) as gateway:
        ran = await stub.shell(tmp_path).here("load", "maverick", "--url", gateway.url)
    assert "needs about 131 GiB; models here may hold 118 GiB together.\n" in ran.err


@pytest.mark.parametrize("verb", [("load",), ("load", "--estimate"), ("unload",)])
async def test_a_misspelt_model_is_guessed(tmp_path: Path, verb: tuple[str, ...]) -> None:
    async with stub.served(status=LARGE) as gateway:
        near = await stub.shell(tmp_path).here(*verb, "minimax-m27", "--url", gateway.url)
        far = await stub.shell(tmp_path).here(*verb, "zzz", "--url", gateway.url)
    assert (near.code, far.code) == (5, 5)
    assert near.err == "no model 'minimax-m27' here; did you mean minimax-m2.7?\n"
    assert far.err == "no model 'zzz' here; `lmg models` lists what there is\n"


@pytest.mark.parametrize(
    ("usual_run_s", "ran_s", "said"),
    [
        (75.0, (33.0, 5.0), "when they end, about 1:10."),
        (20.0, (33.0, 5.0), "when they end."),
        (None, (33.0, 5.0), "when they end."),
        (75.0, (33.0,), "when it ends, about 0:42."),
    ],
)
def test_how_long_a_busy_model_stays_is_only_said_where_it_is_known(
    usual_run_s: float | None, ran_s: tuple[float, ...], said: str
) -> None:
    done = {"runtime": "tiny", "waits_for_leases": len(ran_s), "usual_run_s": usual_run_s}
    running = [{"runtime": "tiny", "running_s": each} for each in ran_s]
    text = unload.said(done, stub.RUNTIME, {"running": running}, now=False)
    assert "(oldest 0:33). It will unload " + said in text


async def test_an_estimate_says_what_would_make_room(tmp_path: Path) -> None:
    status = {**stub.STATUS, "pool_bytes": 92 * 1024**3}
    async with stub.served(status=status) as gateway:
        ran = await stub.shell(tmp_path).here("load", "big", "--estimate", "--url", gateway.url)
    assert (ran.code, ran.out) == (
        0,
        "big needs about 90 GiB of 92 GiB: it fits. It usually loads in 12 s.\n"
        "tiny may have to make room; running answers end first.\n",
    )


def test_a_process_that_only_waits_to_be_collected_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as child:
        deadline = time.monotonic() + 30
        while announcement.alive(child.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not announcement.alive(child.pid)
        os.kill(child.pid, 0)  # it is still there to be collected
