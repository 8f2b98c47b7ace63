"""What the verbs that only look show, to a person on any terminal and to a program."""

import json
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from local_model_gateway import phrases, terminal
from local_model_gateway.commands import logs, queue
from tests.cli import pseudo_terminal, stub

WAITS = {**stub.WORK, "eta_s": [40.0, 44.0], "waited_s": 65.0}
QWEN = {**WAITS, "alias": "qwen3:32b", "runtime": "qwen3:32b", "waits_for": "swap"}
BUSY: dict[str, Any] = {
    **stub.STATUS,
    "running": [{**stub.WORK, "id": "work_runs12345", "state": "running", "running_s": 33.0}],
    "queue": [
        {**WAITS, "id": "work_first12345", "position": 1, "waits_for": "slot", "behind": None},
        {**QWEN, "id": "work_qwen112345", "position": 2, "behind": "tiny"},
        {**QWEN, "id": "work_qwen212345", "position": 3, "behind": "tiny", "priority": 80},
    ],
    "swaps": [{"out": ["tiny"], "into": "qwen3:32b", "at_s": [36.0, 39.0]}],
    "runtimes": [
        stub.RUNTIME,
        {**stub.RUNTIME, "name": "qwen3:32b", "aliases": ["qwen3:32b"], "state": "stopped"}
        | {"running": 0, "queued": 2, "footprint_bytes": 7 * 1024**3},
    ],
}
WIDE = "通义千问-模型"


async def seen(tmp_path: Path, *words: str, **canned: Any) -> str:
    """What a pipe gets."""
    async with stub.served(**canned) as gateway:
        ran = await stub.shell(tmp_path).here(*words, "--url", gateway.url)
    assert (ran.code, ran.err) == (0, "")
    return ran.out


# Status


async def test_the_status_says_what_runs_and_what_waits_for_what(tmp_path: Path) -> None:
    shown = await seen(tmp_path, "status", status=BUSY)
    assert re.sub(r"http://\S+", "URL", shown) == (
        "Gateway   running, pid 1, up 3:10 min, URL\n"
        "Models    1 of 2 models loaded\n"
        "          tiny ready, answers 1 request (oldest 0:33)\n"
        "Queue     1 running, 3 waiting\n"
        "          1 for tiny waits for a free slot, starts in about 44 s\n"
        "          2 for qwen3:32b wait for tiny to go, the first in about 44 s\n"
        "Memory    3.0 of 8.0 GiB given to models\n"
        "Today     12 succeeded, 1 failed\n"
    )


async def test_a_load_is_an_amount_where_it_is_known(tmp_path: Path) -> None:
    loads = {**stub.RUNTIME, "state": "starting", "load_phase": "weights", "load_fraction": 0.5}
    quiet = {**loads, "name": "quiet", "load_fraction": None}
    shown = await seen(tmp_path, "status", status={**BUSY, "runtimes": [loads, quiet]})
    assert "tiny is loading, 1.5 of 3.0 GiB" in shown
    assert "quiet is loading, weights\n" in shown


async def test_a_model_that_failed_is_not_merely_off(tmp_path: Path) -> None:
    failed = {**stub.STATUS["runtimes"][1]}
    later = {**failed, "name": "tired", "retry_in_s": None}
    shown = await seen(tmp_path, "ps", status={**BUSY, "runtimes": [stub.RUNTIME, failed, later]})
    states = [re.split(r" {3,}", line)[:2] for line in shown.splitlines()]
    assert states == [
        ["MODEL", "STATE"],
        ["tiny", "ready"],
        ["big", "failed (oom), next try in 30 s"],
        ["tired", "failed (oom)"],
    ]


CONFIG = {"problem": "line 3 is wrong", "changed_for_the_next_start": ["server"]}
PROBLEMS = [
    ({"paused": True}, "the queue is paused", "lmg queue resume"),
    ({"stopping": True}, "it is stopping", "lmg up"),
    ({"storage_problem": "the disk is full"}, "the disk is full", "lmg doctor"),
    (
        {"runtimes": stub.STATUS["runtimes"]},
        "big did not load: oom, next try in 30 s",
        "lmg logs --source big",
    ),
    ({"config": CONFIG}, "line 3 is wrong", "lmg config validate"),
    ({"config": CONFIG}, "changed and not yet in use: server", "lmg down && lmg up"),
]


@pytest.mark.parametrize(("facts", "what", "fix"), PROBLEMS)
async def test_every_problem_comes_with_the_command_that_unblocks_it(
    tmp_path: Path, facts: dict[str, Any], what: str, fix: str
) -> None:
    async with stub.served(status={**BUSY, **facts}) as gateway:
        shell = stub.shell(tmp_path)
        person = await shell.here("status", "--url", gateway.url)
        machine = await shell.here("status", "--json", "--url", gateway.url)
    assert re.search(
        rf"Problem   .*{re.escape(what)}.*\n          fix  {re.escape(fix)}\n", person.out
    )
    assert fix in [one["fix"] for one in machine.json["problems"]]


async def test_without_problems_there_are_none(tmp_path: Path) -> None:
    assert json.loads(await seen(tmp_path, "status", "--json", status=BUSY))["problems"] == []


async def test_a_person_at_a_terminal_is_told_the_next_step(tmp_path: Path) -> None:
    fresh = {**BUSY, "running": [], "queue": [], "finished_today": {}}
    nothing = {**fresh, "runtimes": []}
    shell = stub.shell(tmp_path)
    for status, step in (
        (fresh, 'lmg run tiny "Say hello"'),
        (BUSY, "lmg queue"),
        (nothing, "lmg init"),
    ):
        async with stub.served(status=status) as gateway:
            ran = await pseudo_terminal.lmg(shell, "--url", gateway.url)
        assert f"Next      {step}" in ran.out


# The queue


async def test_the_queue_is_one_table_with_the_swaps_that_are_to_come(tmp_path: Path) -> None:
    assert await seen(tmp_path, "queue", status=BUSY) == (
        "#      MODEL       STARTS IN    WAITS FOR     WAITED   ID            WHO\n"
        "run    tiny        runs, 0:33                 0:04     work_runs12   OpenAI\n"
        "1      tiny        about 44 s   a free slot   1:05     work_first1   OpenAI\n"
        "swap   qwen3:32b   about 39 s   tiny goes\n"
        "2      qwen3:32b   about 44 s   tiny to go    1:05     work_qwen11   OpenAI\n"
        "3      qwen3:32b   about 44 s   tiny to go    1:05     work_qwen21   OpenAI, priority 80\n"
    )


async def test_programs_get_the_swaps_too(tmp_path: Path) -> None:
    machine = json.loads(await seen(tmp_path, "queue", "--json", status=BUSY))
    assert machine["swaps"] == BUSY["swaps"]
    assert machine["queue"][0]["id"] == "work_first12345"


@pytest.mark.parametrize("given", ["work_first1", "first1", "work_first1…", "work_first12345"])
async def test_an_id_may_be_shortened_as_it_is_shown(tmp_path: Path, given: str) -> None:
    async with stub.served(status=BUSY) as gateway:
        await stub.shell(tmp_path).here("queue", "cancel", given, "--url", gateway.url)
    assert gateway.asked[-1][:2] == ("POST", "/admin/work/work_first12345/cancel")


async def test_an_id_that_may_be_two_cancels_neither(tmp_path: Path) -> None:
    async with stub.served(status=BUSY) as gateway:
        ran = await stub.shell(tmp_path).here("queue", "cancel", "work_qwen", "--url", gateway.url)
    assert ran.code == 5
    assert "may be work_qwen112345, work_qwen212345" in ran.err
    assert [method for method, _, _ in gateway.asked] == ["GET"]


def test_an_id_that_nobody_knows_is_left_to_the_gateway() -> None:
    assert queue.whole_id("work_gone", ["work_a"]) == "work_gone"


# Jobs


JOB: dict[str, Any] = {
    "id": "work_job123456789",
    "model": "tiny",
    "status": "succeeded",
    "created_at": "2026-11-20T10:00:00.000+00:00",
    "started_at": None,
    "ended_at": None,
    "attempts": 1,
    "max_attempts": 3,
    "queue_ms": 22,
    "load_ms": 8410,
    "first_token_ms": 51,
    "output_tokens": 20,
    "error": None,
}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (
            {"result": {"choices": [{"message": {"content": "Hello."}}]}},
            ["queued 0.0 s · load 8.4 s · first token 0.1 s · 20 tokens", "Hello."],
        ),
        ({"result": {"data": [1, 2]}}, ['"data": [']),
        (
            {"error": {"code": "queue_timeout", "message": "waited 10 s"}},
            ["queue_timeout: waited 10 s"],
        ),
        (
            {"position": 2, "waits_for": "swap", "behind": "big", "eta_s": [40.0, 44.0]},
            ["place 2 in line, waits for big to go, starts in about 44 s"],
        ),
    ],
)
async def test_a_job_is_told_to_a_person_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], says: list[str]
) -> None:
    job = {**JOB, **more}
    canned = {"/v1/jobs": {"data": [job]}, f"/v1/jobs/{JOB['id']}": job}
    monkeypatch.setattr(stub.Stub, "_canned", lambda _, path: canned[path])
    shown = await seen(tmp_path, "jobs", "show", "job123")
    for line in says:
        assert line in shown
    assert "work_job123 " in await seen(tmp_path, "jobs")


# Any terminal


@pytest.mark.parametrize("columns", [20, 40, 80])
@pytest.mark.parametrize("verb", ["status", "queue", "ps", "models"])
async def test_nothing_is_wider_than_the_terminal(tmp_path: Path, verb: str, columns: int) -> None:
    runtimes = [{**one, "name": f"{WIDE}-{n}"} for n, one in enumerate(BUSY["runtimes"])]
    queued = [{**one, "alias": f"{WIDE}-1"} for one in BUSY["queue"]]
    async with stub.served(status={**BUSY, "runtimes": runtimes, "queue": queued}) as gateway:
        ran = await pseudo_terminal.lmg(
            stub.shell(tmp_path), verb, "--url", gateway.url, COLUMNS=str(columns), NO_COLOR="1"
        )
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert max(map(terminal.cells, lines)) <= columns
    assert len(lines) >= 2


def test_wide_characters_take_two_cells_and_accents_none() -> None:
    assert terminal.cells(WIDE) == 13
    assert terminal.cells("e\u0301te\u0301") == 3
    assert terminal.cut(WIDE, 6) == "通义…"
    assert terminal.cut("plain", 5) == "plain"
    assert terminal.cut("plain", 4) == "pla…"


def test_a_line_is_broken_between_words_and_where_there_is_no_other_way_in_a_word() -> None:
    assert terminal.broken("one two  three", 9) == ["one two ", "three"]
    assert terminal.broken(f"a {WIDE}", 6) == ["a", "通义千", "问-模", "型"]
    assert terminal.broken("\x1b[32mone\x1b[0m two", 7) == ["\x1b[32mone\x1b[0m two"]
    assert terminal.broken("", 9) == [""]


async def test_a_stream_without_unicode_loses_characters_but_never_the_answer(
    tmp_path: Path,
) -> None:
    async with stub.served(status={**BUSY, "storage_problem": WIDE}) as gateway:
        shell = stub.shell(tmp_path)
        words = ("status", "--url", gateway.url)
        person = await shell.lmg(*words, PYTHONIOENCODING="ascii")
        machine = await shell.lmg(*words, "--json", PYTHONIOENCODING="ascii")
    assert (person.code, person.err) == (0, "")
    assert "Problem   ????-??" in person.out
    assert machine.json["storage_problem"] == WIDE


def test_columns_line_up_under_wide_names() -> None:
    table = terminal.Terminal(no_color=True).table(("A", "B"), [(WIDE, "1"), ("x", "2")])
    assert [terminal.cells(line) for line in table.splitlines()] == [17, 17, 17]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (phrases.rough_size(131 * 1024**3), "131 GiB"),
        (phrases.rough_size(8.1 * 1024**3), "8.1 GiB"),
        (phrases.rough_size(None), "unknown"),
        (phrases.amount(5.1 * 1024**3, 8.1 * 1024**3), "5.1 of 8.1 GiB"),
        (phrases.amount(512 * 1024**2, 8.1 * 1024**3), "512 MiB of 8.1 GiB"),
        (phrases.clock(33.9), "0:33"),
        (phrases.clock(3730), "1:02:10"),
        (phrases.soon(4.4), "4 s"),
        (phrases.soon(-3), "0 s"),
        (phrases.soon(59.7), "1:00"),
        (phrases.soon(110), "1:50"),
    ],
)
def test_numbers_are_said_as_people_say_them(said: str, expected: str) -> None:
    assert said == expected


# Top


async def test_top_draws_until_q_and_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    async with stub.served(status=BUSY) as gateway:
        ran = await pseudo_terminal.lmg(
            stub.shell(tmp_path),
            "top",
            "--every",
            "0.1s",
            "--url",
            gateway.url,
            until=("tiny to go", "q"),
        )
    assert ran.code == 0
    assert ran.out.startswith("\x1b[?1049h")
    assert ran.out.rstrip().endswith("\x1b[?25h\x1b[?1049l")
    assert "\x1b[2J" not in ran.out  # a screen that is cleared before it is drawn flickers


async def test_top_says_when_nobody_answers_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stub.served(status=BUSY) as gateway:

        def once(_: stub.Stub, __: str) -> Any:
            gateway.refuse = (503, "storage_unavailable", "the disk is full")
            return BUSY

        monkeypatch.setattr(stub.Stub, "_canned", once)
        ran = await pseudo_terminal.lmg(
            stub.shell(tmp_path),
            "top",
            "--every",
            "0.1s",
            "--url",
            gateway.url,
            until=("the disk is full", "\x03"),
        )
    assert ran.code == 130
    assert "Still asking." in ran.out


async def test_top_is_one_picture_where_nobody_watches(tmp_path: Path) -> None:
    shown = await seen(tmp_path, "top", status=BUSY)
    assert shown.count("Gateway ") == 1
    assert "MODEL" in shown
    assert "tiny to go" in shown
    machine = json.loads(await seen(tmp_path, "top", "--json", status=BUSY))
    assert machine["schema"] == "lmg.status/1"


# Logs


@pytest.mark.parametrize(
    ("before", "now", "added"),
    [
        (["a", "b"], ["a", "b", "c"], ["c"]),
        (["a", "b", "c"], ["b", "c", "d"], ["d"]),
        (["a", "b"], ["a", "b"], []),
        ([], ["a"], ["a"]),
        (["a"], ["x", "y"], ["x", "y"]),
    ],
)
def test_only_what_an_engine_added_is_said(
    before: list[str], now: list[str], added: list[str]
) -> None:
    assert logs.since(before, now) == added


async def test_an_engines_log_can_be_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = ["one", "two"]
    monkeypatch.setattr(stub.Stub, "_canned", lambda _, __: {"runtime": "tiny", "lines": told})
    async with stub.served() as gateway:
        words = ("logs", "-f", "--source", "tiny", "--url", gateway.url)
        async with stub.child(stub.shell(tmp_path), *words) as (_, lines):
            with anyio.fail_after(stub.LIMIT_S):
                assert [await anext(lines) for _ in range(2)] == ["one", "two"]
                told[:] = ["two", "three"]
                assert await anext(lines) == "three"


# Completion


@pytest.mark.parametrize("kind", ["models", "queue", "jobs"])
async def test_names_are_completed_from_the_gateway_and_silence_is_no_error(
    tmp_path: Path, kind: str
) -> None:
    shell = stub.shell(tmp_path)
    broken = tmp_path / "broken.yaml"
    broken.write_text("version: [")
    async with stub.served() as gateway:
        there = await shell.lmg("completion", kind, "--url", gateway.url)
        gateway.refuse = (401, "invalid_api_key", "a key is needed")
        refused = await shell.lmg("completion", kind, "--url", gateway.url)
    down = await shell.lmg("completion", kind, "--url", "http://127.0.0.1:9")
    wrong = await shell.lmg("completion", kind, "--config", str(broken))
    assert (
        there.out.split() == {"models": ["tiny"], "queue": ["work_r", "work_a"], "jobs": []}[kind]
    )
    for silent in (refused, down, wrong):
        assert (silent.code, silent.out, silent.err) == (0, "", "")


async def test_a_gateway_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # it takes connections and never answers
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        ran = await stub.shell(tmp_path).lmg("completion", "models", "--url", url)
    assert (ran.code, ran.out, ran.err) == (0, "", "")


@pytest.mark.parametrize(
    ("kind", "known"),
    [("clients", "claude-code"), ("engines", "ollama"), ("recipes", "claude-code")],
)
async def test_names_of_recipes_need_no_gateway(tmp_path: Path, kind: str, known: str) -> None:
    ran = await stub.shell(tmp_path).lmg("completion", kind)
    assert (ran.code, ran.err) == (0, "")
    assert known in ran.out.split()


CASES = [
    (["run", "gem"], "gemma4:12b"),
    (["run", "gemma4", ":"], "12b"),
    (["run", "gemma4", ":", "1"], "12b"),
    (["logs", "--source", "gem"], "gemma4:12b"),
    (["queue", "cancel", "gem"], "gemma4:12b"),
    (["queue", "can"], "cancel"),
    (["run", "gemma", "gem"], ""),
    (["run", "$"], r"\$\(touch\ x\)"),
]


@pytest.mark.parametrize(("words", "reply"), CASES)
async def test_bash_completes_names_with_colons_and_runs_none(
    tmp_path: Path, words: list[str], reply: str
) -> None:
    script = (await stub.shell(tmp_path).here("completion", "bash")).out
    program = tmp_path / "lmg"
    program.write_text("#!/bin/sh\necho gemma4:12b\necho '$(touch x)'\n")
    program.chmod(0o755)
    quoted = " ".join(f"'{word}'" for word in ("lmg", *words))
    asked = (
        f'{script}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _lmg; echo "${{COMPREPLY[*]}}"'
    )

    def bash() -> str:
        return subprocess.run(
            ["bash", "-c", asked],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            check=True,
        ).stdout.strip()

    assert await to_thread.run_sync(bash) == reply
    assert not (tmp_path / "x").exists()
