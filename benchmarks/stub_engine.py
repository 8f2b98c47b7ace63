"""An engine far faster than any gateway: raw bytes from a table, no framework, one process.

    python -m benchmarks.stub_engine PORT

`{"stream": true}` gets events; a prompt `burst:N` gets N events at once, `paced:N` one every 5 ms,
`hang` a head and then silence. Anything else gets one small answer.
"""

import asyncio
import re
import sys

WORD = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"stub","choices":'
    b'[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'
)
LAST = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"stub","choices":'
    b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
)
USAGE = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"stub","choices":[],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}}\n\n'
)
DONE = b"data: [DONE]\n\n"
WHOLE = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"stub","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":" word word word"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":3,"total_tokens":8}}'
)
JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of the chunked coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


SMALL = JSON % len(WHOLE) + WHOLE
STREAMED = (
    EVENTS
    + chunk(WORD)
    + chunk(WORD)
    + chunk(WORD)
    + chunk(LAST)
    + chunk(USAGE + DONE)
    + b"0\r\n\r\n"
)
END = chunk(LAST + USAGE + DONE) + b"0\r\n\r\n"
WORD_CHUNK = chunk(WORD)
ASKED = re.compile(rb"(burst|paced|hang):?(\d*)")
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Stub(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._held = b""
        self._writable = asyncio.Event()
        self._writable.set()
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop writing."""
        for task in self._tasks:
            task.cancel()

    def pause_writing(self) -> None:
        """The other side is slow."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        data = self._held + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            found = LENGTH.search(data, 0, end)
            size = end + 4 + (int(found.group(1)) if found else 0)
            if len(data) < size:
                break
            self._answer(data[end + 4 : size])
            data = data[size:]
        self._held = data

    def _answer(self, body: bytes) -> None:
        asked = ASKED.search(body)
        if asked is None:
            streamed = b'"stream":true' in body or b'"stream": true' in body
            self._transport.write(STREAMED if streamed else SMALL)
            return
        writing = self._write(asked.group(1), int(asked.group(2) or 0))
        task = asyncio.get_running_loop().create_task(writing)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self, kind: bytes, count: int) -> None:
        self._transport.write(EVENTS)
        if kind == b"hang":
            await asyncio.Event().wait()
        for _ in range(count):
            if kind == b"paced":
                await asyncio.sleep(0.005)
            self._transport.write(WORD_CHUNK)
            if not self._writable.is_set():
                await self._writable.wait()
        self._transport.write(END)


async def serve(port: int) -> None:
    """Until killed."""
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", port, backlog=4096)
    print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
