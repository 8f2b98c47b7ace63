"""What somebody who waits sees, against a real gateway whose engines load and swap slowly; and that leaving is leaving."""

import contextlib
import re
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from local_model_gateway import terminal, waiting
from tests.cli import pseudo_terminal, stub
from tests.support import gateway as real

LIMIT_S = 60.0
ENDLESS = {"tokens": 100_000, "token_delay_ms": 50.0}
CTRL_C = "\x03"


@contextlib.asynccontextmanager
async def gateway(tmp_path: Path, **models: dict[str, Any]) -> AsyncGenerator[real.Gateway]:
    """Models of which only one fits at a time."""
    runtimes = {name: real.fake(name, tmp_path, **knobs) for name, knobs in models.items()}
    async with real.gateway({"runtimes": runtimes}, tmp_path) as started:
        await started.start()
        try:
            yield started
        finally:
            with anyio.CancelScope(shield=True):
                await started.kill()  # nothing here is about an orderly stop, which takes seconds


@contextlib.asynccontextmanager
async def answering(started: real.Gateway, model: str) -> AsyncGenerator[None]:
    """A request that runs for as long as the block."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "go on"}]}
    async with (
        started.client() as http,
        http.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        lines = answer.aiter_lines()  # kept: a generator that nobody holds hangs up
        while not (await anext(lines)).startswith("data:"):
            pass
        yield


@dataclass(frozen=True)
class Seen:
    """What one look at the whole showed."""

    queue: list[str]
    running: list[str]
    states: dict[str, str]


async def until(started: real.Gateway, holds: Callable[[Seen], bool]) -> None:
    """Wait for a picture in which this holds."""
    with anyio.fail_after(LIMIT_S):
        async with started.client() as http:
            while True:
                picture = (await http.get("/status")).json()
                seen = Seen(
                    [one["runtime"] for one in picture["queue"]],
                    [one["runtime"] for one in picture["running"]],
                    {one["name"]: one["state"] for one in picture["runtimes"]},
                )
                if holds(seen):
                    return
                await anyio.sleep(0.05)


def screen(text: str) -> list[str]:
    """The lines that are left standing on a terminal which was written to like this."""
    lines = []
    for line in re.sub(r"\x1b\[[0-9;]*m", "", text).split("\n"):
        shown = ""
        for piece in line.split("\r"):
            before, erased, after = piece.partition("\x1b[K")
            shown = before + after if erased else before + shown[len(before) :]
        lines.append(shown)
    return lines


# The words

MINIMAX = {**stub.RUNTIME, "name": "minimax-m2.7", "aliases": [], "state": "ready"}
GEMMA = {**stub.RUNTIME, "name": "gemma4:12b", "aliases": [], "state": "stopped"}
QWEN = {**GEMMA, "name": "qwen3:32b"}
RUNS = [{**stub.WORK, "id": f"r{n}", "runtime": "minimax-m2.7"} for n in range(2)]
MINE = {**stub.WORK, "id": "mine", "alias": "qwen3:32b", "runtime": "qwen3:32b", "position": 3}
FIVE = [{**stub.WORK, "id": f"q{n}", "runtime": "gemma4:12b", "position": n} for n in (1, 2, 4, 5)]


def line(
    room: int = 110,
    comment: bytes | None = None,
    runtime: dict[str, Any] | None = None,
    running: list[dict[str, Any]] | None = None,
    **mine: Any,
) -> str:
    """What is shown of a request for qwen3:32b, third of five."""
    wait = waiting.Wait("qwen3:32b", work_id="mine", clock=lambda: 7.0)
    if comment is not None:
        wait.hear(comment)
    else:
        item = {**MINE, "waits_for": "swap", "behind": "minimax-m2.7", "eta_s": [90.0, 110.4]}
        own = {**QWEN, **(runtime or {})}
        wait.see(
            {
                "running": RUNS if running is None else running,
                "queue": [*FIVE, {**item, **mine}],
                "runtimes": [MINIMAX, GEMMA, own],
            }
        )
    return wait.line(room)


def test_the_place_who_goes_first_and_when_it_starts() -> None:
    assert line() == (
        "queue 3 of 5 · minimax-m2.7 finishes 2 requests first · starts in about 1:50"
        "   (Ctrl-C leaves the queue)"
    )


@pytest.mark.parametrize(
    ("room", "shown"),
    [
        (95, "queue 3 of 5 · minimax-m2.7 finishes 2 requests first · starts in about 1:50"
             "   (Ctrl-C leaves)"),
        (80, "queue 3 of 5 · minimax-m2.7 finishes 2 requests first · starts in about 1:50"),
        (40, "queue 3 of 5 · starts in about 1:50"),
        (20, "queue 3 of 5"),
    ],
)  # fmt: skip
def test_where_there_is_little_room_the_place_and_the_time_stay(room: int, shown: str) -> None:
    assert line(room) == shown
    assert terminal.cells(shown) <= room


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"running": []}, "minimax-m2.7 makes room first"),
        ({"waits_for": "slot", "behind": None, "running": [{**RUNS[0], "runtime": "qwen3:32b"}]},
         "qwen3:32b finishes 1 request first"),
        ({"behind": "gemma4:12b"}, "gemma4:12b finishes 2 requests first"),
        ({"waits_for": "paused", "behind": None},
         "the queue is paused; `lmg queue resume` lets it go on"),
        ({"waits_for": "runtime_failed", "behind": None,
          "runtime": {"last_error": {"class": "oom"}, "retry_in_s": 30.4}},
         "qwen3:32b did not load (oom), next try in 30 s"),
        ({"eta_s": [0.0, 0.4]}, "starts any moment"),
    ],
)  # fmt: skip
def test_the_reason_is_said_in_words(facts: dict[str, Any], says: str) -> None:
    assert says in line(**facts)


def test_what_nobody_knows_is_not_said() -> None:
    assert line(eta_s=None) == (
        "queue 3 of 5 · minimax-m2.7 finishes 2 requests first   (Ctrl-C leaves the queue)"
    )


LOADS = {"state": "starting", "load_phase": "weights", "footprint_bytes": 8.1 * 1024**3}


@pytest.mark.parametrize(
    ("runtime", "eta_s", "shown"),
    [
        ({"load_fraction": 5.1 / 8.1}, [3.0, 4.4], "loading qwen3:32b   5.1 of 8.1 GiB   4 s left"),
        ({"load_fraction": 5.1 / 8.1}, [0, 0.2], "loading qwen3:32b   5.1 of 8.1 GiB   almost there"),
        ({"load_fraction": 0.3, "footprint_bytes": None}, [3.0, 4.4],
         "loading qwen3:32b   30%   4 s left"),
        ({}, None, "loading qwen3:32b   weights, 0:00   usually 12 s"),
        ({"usual_load_s": None, "load_phase": None}, None, "loading qwen3:32b   0:00"),
    ],
)  # fmt: skip
def test_a_load_shows_an_amount_or_else_how_long_it_usually_takes(
    runtime: dict[str, Any], eta_s: list[float] | None, shown: str
) -> None:
    assert line(runtime={**LOADS, **runtime}, eta_s=eta_s) == shown


@pytest.mark.parametrize(
    ("room", "shown"),
    [
        (45, "loading qwen3:32b   5.1 of 8.1 GiB   4 s left"),
        (40, "loading qwen3:32b   4 s left"),
        (20, "loading qwen3:32b"),
    ],
)
def test_a_load_in_little_room_keeps_the_time(room: int, shown: str) -> None:
    told = {**LOADS, "load_fraction": 5.1 / 8.1}
    assert line(room, runtime=told, eta_s=[3.0, 4.4]) == shown


@pytest.mark.parametrize(
    ("comment", "shown"),
    [
        (b": queued position=3 eta=42s waits_for=swap behind=big",
         "queue 3 · big makes room first · starts in about 42 s   (Ctrl-C leaves the queue)"),
        (b": queued position=3 eta=42s",
         "queue 3 · waits for qwen3:32b · starts in about 42 s   (Ctrl-C leaves the queue)"),
        (b": queued", "queue · waits for qwen3:32b   (Ctrl-C leaves the queue)"),
        (b": loading phase=weights progress=40% eta=11s", "loading qwen3:32b   40%   11 s left"),
        (b": prefill 2048/9000", "qwen3:32b reads the prompt, 2048 of 9000 tokens"),
        (b": working", "qwen3:32b is working"),
    ],
)  # fmt: skip
def test_the_comments_of_the_stream_are_enough(comment: bytes, shown: str) -> None:
    assert line(comment=comment) == shown


def test_the_time_goes_down_between_two_looks() -> None:
    at = iter([100.0, 100.0, 130.0])
    wait = waiting.Wait("qwen3:32b", clock=lambda: next(at))
    wait.hear(b": queued position=3 eta=42s")
    assert "starts in about 42 s" in wait.line(110)
    assert "starts in about 12 s" in wait.line(110)


def test_a_model_that_reasons_is_said_to_think() -> None:
    wait = waiting.Wait("qwen3:32b", thinking=True)
    wait.hear(b": working")
    assert wait.line(110) == "qwen3:32b is thinking"


def test_where_several_lines_stand_side_by_side_no_length_is_claimed() -> None:
    assert line(position=4).startswith("queue 4 · ")


# A place in line


@pytest.mark.requirement("client-gone-frees-at-once")
@pytest.mark.parametrize("verb", [("run", "small", "hi"), ("load", "small")])
async def test_ctrl_c_leaves_the_line_and_disturbs_nobody(
    tmp_path: Path, verb: tuple[str, ...]
) -> None:
    async with gateway(tmp_path, big=ENDLESS, small={}) as started, answering(started, "big"):
        ran = await pseudo_terminal.lmg(
            stub.shell(tmp_path),
            *verb,
            "--url",
            started.url,
            until=(
                "queue 1 of 1 · big finishes 1 request first   (Ctrl-C leaves the queue)",
                CTRL_C,
            ),
        )
        await until(started, lambda seen: seen.queue == [] and seen.running == ["big"])
    assert ran.code == 130
    assert "left the queue" in screen(ran.out)[-2]
    assert "finishes" not in "".join(screen(ran.out))


async def test_patience_that_runs_out_has_its_own_exit_code_and_says_what_it_means(
    tmp_path: Path,
) -> None:
    words = ("run", "small", "hi", "--max-wait", "1s")
    shell = stub.shell(tmp_path)
    async with gateway(tmp_path, big=ENDLESS, small={}) as started, answering(started, "big"):
        person = await shell.lmg(*words, "--url", started.url)
        machine = await shell.lmg(*words, "--json", "--url", started.url)
    assert (person.code, person.out) == (7, "")
    assert re.fullmatch(
        r"small: waited \d+ s behind big\. It left the queue, and nothing ran\.\n"
        r"Wait longer with --max-wait 30m; `lmg queue` shows who is ahead\.\n",
        person.err,
    )
    assert (machine.code, machine.err) == (7, "")
    assert machine.json["error"]["code"] == "still_queued"


# A load


@pytest.mark.parametrize("verb", [("run", "slow", "hi"), ("load", "slow")])
async def test_a_load_that_tells_how_far_it_is_is_shown_as_an_amount(
    tmp_path: Path, verb: tuple[str, ...]
) -> None:
    slow = {"load_s": 0.1, "load_style": "llama", "load_hang": True}
    async with gateway(tmp_path, slow=slow) as started:
        ran = await pseudo_terminal.lmg(
            stub.shell(tmp_path),
            *verb,
            "--url",
            started.url,
            until=("loading slow   3.0 of 6.0 GiB", CTRL_C),
        )
        await until(started, lambda seen: seen.queue == [])
    assert ran.code == 130
    assert "loading" not in "".join(screen(ran.out)[:-2])


async def test_a_load_that_tells_nothing_gets_no_invented_amount(tmp_path: Path) -> None:
    async with gateway(tmp_path, quiet={"load_s": 0.1, "load_hang": True}) as started:
        ran = await pseudo_terminal.lmg(
            stub.shell(tmp_path),
            "run",
            "quiet",
            "hi",
            "--url",
            started.url,
            until=("loading quiet   starting, 0:0", CTRL_C),
        )
    assert ran.code == 130
    assert "GiB" not in ran.out
    assert "%" not in ran.out


async def test_the_line_is_gone_before_the_answer_and_the_time_is_accounted_for(
    tmp_path: Path,
) -> None:
    """The load outlasts the second in which a stream's head could still tell."""
    async with gateway(tmp_path, slow={"load_s": 2.0, "load_style": "llama"}) as started:
        ran = await pseudo_terminal.lmg(
            stub.shell(tmp_path), "run", "slow", "hi", "--url", started.url
        )
    assert ran.code == 0
    answer, timing, *rest = [line for line in screen(ran.out) if line]
    assert rest == []
    assert not set(answer) & set(terminal.FRAMES)
    assert re.fullmatch(
        r"slow · queued \d+\.\d s · load \d+\.\d s · first token \d+\.\d s · 8 tokens( at \d+\.\d/s)?",
        timing,
    )


@pytest.mark.parametrize("options", [(), ("--json",)])
async def test_where_nobody_watches_nothing_turns(tmp_path: Path, options: tuple[str, ...]) -> None:
    async with gateway(tmp_path, slow={"load_s": 2.0, "load_style": "llama"}) as started:
        ran = await stub.shell(tmp_path).lmg("run", "slow", "hi", *options, "--url", started.url)
    assert ran.code == 0
    assert "\r" not in ran.out + ran.err
    assert "loading" not in ran.out + ran.err
    if options:
        assert ran.err == ""
        assert ran.json["load_ms"] >= 2000


# Unloading what is busy


async def test_a_busy_model_is_unloaded_when_it_has_ended_or_at_once_on_demand(
    tmp_path: Path,
) -> None:
    shell = stub.shell(tmp_path)
    async with gateway(tmp_path, big=ENDLESS) as started:
        async with answering(started, "big"):
            drains = await shell.lmg("unload", "big", "--url", started.url)
            cuts = await shell.lmg("unload", "big", "--now", "--url", started.url)
            await until(started, lambda seen: seen.states == {"big": "stopped"})
        again = await shell.lmg("unload", "big", "--url", started.url)
    assert drains.code == cuts.code == again.code == 0
    assert re.fullmatch(
        r"big is answering 1 request \(oldest \d+:\d\d\)\. It will unload when it ends\.\n"
        r"Use --now to cut it off\.\n",
        drains.out,
    )
    assert cuts.out == "big is unloading; 1 answer cut off; 6.0 GiB come back\n"
    assert again.out == "big is not loaded\n"
