"""Clients that vanish, in ten ways and in every phase, leave nothing behind."""

import json
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest

from tests.support.fake_engine import witness
from tests.support.gateway import Gateway, fake, gateway

CLIENTS = 400
AT_ONCE = 40


def request(
    here: Gateway, stream: bool, tokens: int = 400, path: str = "/v1/chat/completions"
) -> bytes:
    body = {
        "model": "a",
        "stream": stream,
        "messages": [{"role": "user", "content": f"[[tokens:{tokens}]] [[delay-ms:20]]"}],
    }
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{here.port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


Way = Callable[[Gateway, anyio.abc.SocketStream], Awaitable[None]]


async def at_once(here: Gateway, wire: anyio.abc.SocketStream) -> None:
    await wire.send(request(here, stream=True))


async def in_the_head(here: Gateway, wire: anyio.abc.SocketStream) -> None:
    await wire.send(request(here, stream=True)[:40])


async def in_the_body(here: Gateway, wire: anyio.abc.SocketStream) -> None:
    await wire.send(request(here, stream=True)[:-20])


async def while_queued(here: Gateway, wire: anyio.abc.SocketStream) -> None:
    await wire.send(request(here, stream=False))
    await anyio.sleep(0.2)


async def after_the_first_byte(here: Gateway, wire: anyio.abc.SocketStream) -> None:
    await wire.send(request(here, stream=True))
    with anyio.move_on_after(1):
        await wire.receive(1)


async def in_mid_stream(here: Gateway, wire: anyio.abc.SocketStream) -> None:
    await wire.send(request(here, stream=True))
    with anyio.move_on_after(2):
        for _ in range(5):
            await wire.receive()


async def not_streaming(here: Gateway, wire: anyio.abc.SocketStream) -> None:
    await wire.send(request(here, stream=False))
    await anyio.sleep(0.5)


async def half_closed(here: Gateway, wire: anyio.abc.SocketStream) -> None:
    await wire.send(request(here, stream=True))
    await wire.send_eof()
    await anyio.sleep(0.1)


async def having_sent_another(here: Gateway, wire: anyio.abc.SocketStream) -> None:
    await wire.send(request(here, stream=True) + request(here, stream=True))
    await anyio.sleep(0.1)


async def with_a_reset(here: Gateway, wire: anyio.abc.SocketStream) -> None:
    await wire.send(request(here, stream=True))
    await anyio.sleep(0.1)
    raw = wire.extra(anyio.abc.SocketAttribute.raw_socket)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


WAYS: list[Way] = [
    at_once,
    in_the_head,
    in_the_body,
    while_queued,
    after_the_first_byte,
    in_mid_stream,
    not_streaming,
    half_closed,
    having_sent_another,
    with_a_reset,
]


async def status(here: Gateway) -> dict[str, Any]:
    async with here.client() as client:
        found: dict[str, Any] = (await client.get("/status")).json()
        return found


def still_running(here: Gateway) -> set[tuple[int, str]]:
    """What the engine itself says is running."""
    begun: set[tuple[int, str]] = set()
    for event in witness.read(here.witness):
        key = (event.pid, str(event.data.get("id")))
        if event.event == "begin":
            begun.add(key)
        elif event.event in {"end", "cancelled"}:
            begun.discard(key)
    return begun


@pytest.mark.timeout(180)
@pytest.mark.requirement("client-gone-frees-at-once")
async def test_clients_that_vanish_in_ten_ways_leave_nothing(tmp_path: Path) -> None:
    runtime = fake("a", tmp_path, slots=4, load_s=0.5)
    queue = {"max_queue": 1000, "max_queue_per_client": 1000}
    async with gateway({"runtimes": {"a": runtime}, "queue": queue}, tmp_path) as here:
        await here.start()
        limit = anyio.CapacityLimiter(AT_ONCE)

        async def vanish(way: Way) -> None:
            async with limit:
                wire = await anyio.connect_tcp("127.0.0.1", here.port)
                try:
                    await way(here, wire)
                except (anyio.BrokenResourceError, anyio.EndOfStream):
                    pass
                finally:
                    await anyio.aclose_forcefully(wire)

        async with anyio.create_task_group() as group:
            for number in range(CLIENTS):
                group.start_soon(vanish, WAYS[number % len(WAYS)])
        with anyio.fail_after(20):
            while True:
                seen = await status(here)
                if not seen["running"] and not seen["queue"] and not still_running(here):
                    break
                await anyio.sleep(0.05)
        async with here.client() as client:
            body = {"model": "a", "messages": [{"role": "user", "content": "[[tokens:2]]"}]}
            assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
        assert "Traceback" not in here.log
