"""Many clients at once: slow readers, a long queue, and a full one."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.abc
import psutil
import pytest

from benchmarks import proxy
from coordinator import settings
from local_model_gateway import serve
from tests.openai_shim import harness

MIB = 1 << 20


@pytest.fixture(scope="module", autouse=True)
def many_files() -> None:
    """Both ends of every connection are in this process."""
    serve.raise_file_limit()


def raw(port: int, prompt: str, model: str = "stub") -> bytes:
    body = json.dumps(harness.chat(prompt, model, stream=True)).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[tuple[int, psutil.Process]]:
    """A gateway of its own process, with one slot, in front of the fast stub."""
    with (
        proxy.child("benchmarks.stub_engine", "0") as (_, engine),
        proxy.child("benchmarks.proxy_gateway", str(engine), str(tmp_path / "s"), "64") as (
            process,
            port,
        ),
    ):
        yield port, psutil.Process(process.pid)


async def settled(process: psutil.Process) -> int:
    """Resident bytes, once they stop growing."""
    last, now = -1, 0
    with anyio.fail_after(30):
        while now - last > MIB or last < 0:
            last = process.memory_info().rss
            await anyio.sleep(0.5)  # another process, in its own time
            now = process.memory_info().rss
    return now


async def test_clients_that_stop_reading_hold_the_engine_back_and_not_our_memory(
    stub: tuple[int, psutil.Process],
) -> None:
    port, process = stub
    streams: list[anyio.abc.SocketStream] = []
    before = await settled(process)
    for _ in range(20):
        stream = await anyio.connect_tcp("127.0.0.1", port)
        streams.append(stream)
        await stream.send(raw(port, "burst:2000000"))  # about 300 MiB each, if anybody read it
        assert (await stream.receive()).startswith(b"HTTP/1.1 200")

    after = await settled(process)

    for stream in streams:
        await stream.aclose()
    assert after - before <= 48 * MIB


async def test_two_thousand_waiting_streams_are_no_burden(tmp_path: Path) -> None:
    count = 2000
    with (
        proxy.child("benchmarks.stub_engine", "0") as (_, engine),
        proxy.child("benchmarks.proxy_gateway", str(engine), str(tmp_path / "s"), "1") as (
            process,
            port,
        ),
    ):
        gateway = psutil.Process(process.pid)
        streams: list[anyio.abc.SocketStream] = []
        for _ in range(count):
            stream = await anyio.connect_tcp("127.0.0.1", port)
            streams.append(stream)
            await stream.send(raw(port, "hang"))

        with anyio.fail_after(50):
            for stream in streams:
                assert b" 200 " in await stream.receive()
        memory = gateway.memory_info().rss
        with anyio.fail_after(5):  # the goal of 250 ms is measured by `make bench-proxy`
            probe = await anyio.connect_tcp("127.0.0.1", port)
            host = f"127.0.0.1:{port}"
            await probe.send(f"GET /v1/models HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
            assert (await probe.receive()).startswith(b"HTTP/1.1 200")
        for stream in [*streams, probe]:
            await stream.aclose()

    assert memory < 300 * MIB


async def test_over_the_cap_every_client_is_refused_at_once(tmp_path: Path) -> None:
    limits = settings.CoordinatorSettings(max_queue=50)
    statuses: list[int] = []
    retry_after: list[int] = []
    runtimes = {"tiny": {"max_concurrency": 1}}
    async with (
        harness.gateway(tmp_path, runtimes, limits=limits) as gateway,
        gateway.client() as client,
        anyio.create_task_group() as group,
    ):
        endless = raw(gateway.port, "[[tokens:100000]] [[delay-ms:20]] on", "tiny")

        async def wait() -> None:
            stream = await anyio.connect_tcp("127.0.0.1", gateway.port)
            async with stream:
                await stream.send(endless)
                await anyio.sleep_forever()

        for _ in range(51):
            group.start_soon(wait)
        await gateway.until_queued(50)
        for _ in range(20):
            with anyio.fail_after(5):
                asked = harness.chat("hi", stream=True)
                answer = await client.post("/v1/chat/completions", json=asked)
            statuses.append(answer.status_code)
            retry_after.append(int(answer.headers["retry-after"]))
        group.cancel_scope.cancel()

    assert set(statuses) == {429}
    assert all(1 <= seconds <= 3600 for seconds in retry_after)
