"""The optional ranking by meaning: used when it answers, missed by nobody when it does not."""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest

from broker.service import Broker
from tests.broker.conftest import Opened

Raw = Callable[..., dict[str, Any]]
TOPICS = ("plant", "number", "thing")


class Embeddings:
    """Answers on loopback; a text's vector says which topics it speaks of."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.hangs = False
        self.url = ""

    @asynccontextmanager
    async def serve(self) -> AsyncGenerator[None]:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        self.url = f"http://127.0.0.1:{port}/v1/embeddings"
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, self._answer)
            yield
            group.cancel_scope.cancel()

    async def _answer(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            request = b""
            while b"\r\n\r\n" not in request or not request.rstrip().endswith(b"}"):
                request += await stream.receive()
            texts = json.loads(request.partition(b"\r\n\r\n")[2])["input"]
            self.asked += texts
            if self.hangs:
                await anyio.sleep_forever()
            rows = [{"index": place, "embedding": vector(one)} for place, one in enumerate(texts)]
            body = json.dumps({"data": rows}).encode()
            head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            await stream.send(head.encode() + body)


def vector(text: str) -> list[float]:
    low = text.lower().replace("flora", "plant").replace("get_thing", "").replace("get thing", "")
    return [float(topic in low) + 0.01 * place for place, topic in enumerate(TOPICS)]


@pytest.fixture
async def embeddings() -> AsyncGenerator[Embeddings]:
    stub = Embeddings()
    async with stub.serve():
        yield stub


def options(embeddings: Embeddings) -> dict[str, Any]:
    return {"url": embeddings.url, "model": "stub", "query_timeout": "10s"}


async def ready(broker: Broker) -> None:
    with anyio.fail_after(30):
        await broker.understands()


async def test_a_tool_is_found_by_its_meaning_alone(
    opened: Opened, raw: Raw, embeddings: Embeddings
) -> None:
    sections = {
        "garden": raw("garden", description="Knows every plant."),
        "office": raw("office", description="Knows every number."),
    }
    async with opened(sections) as broker:
        for name in sections:
            await broker.refresh(name)
    async with opened(sections, embedding=options(embeddings)) as broker:
        await ready(broker)
        found = await broker.search("something about flora")
    assert found.hits[0].tool_id == "garden:get_thing_0"


async def test_a_slow_address_costs_a_search_its_timeout_and_no_more(
    opened: Opened, raw: Raw, embeddings: Embeddings
) -> None:
    sections = {"garden": raw("garden", description="Knows every plant.")}
    async with opened(sections) as broker:
        await broker.refresh("garden")
    impatient = {**options(embeddings), "query_timeout": "50ms"}
    async with opened(sections, embedding=impatient) as broker:
        await ready(broker)
        embeddings.hangs = True
        with anyio.fail_after(10):
            found = await broker.search("plant")
    assert found.hits[0].tool_id == "garden:get_thing_0"


async def test_an_address_that_is_gone_leaves_the_ranking_by_words(
    opened: Opened, raw: Raw
) -> None:
    sections = {"garden": raw("garden", description="Knows every plant.")}
    nowhere = {"url": "http://127.0.0.1:9/v1/embeddings", "model": "stub"}
    async with opened(sections, embedding=nowhere) as broker:
        await broker.refresh("garden")
        found = await broker.search("plant")
    assert found.hits[0].tool_id == "garden:get_thing_0"


async def test_what_was_embedded_once_is_not_embedded_again(
    opened: Opened, raw: Raw, embeddings: Embeddings
) -> None:
    sections = {"garden": raw("garden", tools=3)}
    async with opened(sections) as broker:
        await broker.refresh("garden")
    async with opened(sections, embedding=options(embeddings)) as broker:
        await ready(broker)
        assert len(embeddings.asked) == 3
    async with opened(sections, embedding=options(embeddings)) as broker:
        await ready(broker)
        await broker.search("anything")
    assert embeddings.asked[3:] == ["anything"]
