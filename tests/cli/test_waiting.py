"""What somebody who waits sees, against a real gateway whose engines load and swap slowly; and that leaving is leaving."""

import contextlib
import re
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from local_model_gateway import terminal
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


# A place in line


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
    assert person.err == (
        "small: waited 1 s behind big. It left the queue, and nothing ran.\n"
        "Wait longer with --max-wait 30m; `lmg queue` shows who is ahead.\n"
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
        r"slow · queued \d+\.\d s · load [2-9]\d*\.\d s · first token \d+\.\d s · 8 tokens( at \d+\.\d/s)?",
        timing,
    )


@pytest.mark.parametrize("options", [(), ("--json",)])
async def test_where_nobody_watches_nothing_turns(tmp_path: Path, options: tuple[str, ...]) -> None:
    async with gateway(tmp_path, slow={"load_s": 2.0, "load_style": "llama"}) as started:
        ran = await stub.shell(tmp_path).lmg("run", "slow", "hi", *options, "--url", started.url)
        looks = started.log.count("/status")
    assert ran.code == 0
    assert "\r" not in ran.out + ran.err
    assert "loading" not in ran.out + ran.err
    assert looks <= 1
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
