"""A downstream server as a child process: frames on its pipes, and nothing of it left behind.

Ours rather than the SDK's because four things are needed that the SDK's keeps to itself: the process
group, so that grandchildren die too; an environment that is exactly what was asked for; standard
error as a redacted ring; and answers too large to parse going to a file instead of through the loop.
"""

import contextlib
import fnmatch
import os
import re
import signal
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import anyio
import anyio.abc
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage

from broker.child import SPILLED, Child
from broker.ring import Ring

INHERITED = (
    "HOME",
    "LOGNAME",
    "USER",
    "PATH",
    "SHELL",
    "TERM",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "SYSTEMROOT",
)
# An answer of this size parses in about 10 ms; a larger one would be felt by every other client.
PARSED_ON_LOOP = 256 * 1024
PARSED_AT_ALL = 1024 * 1024
LISTING_LIMIT = 32 * 1024 * 1024
SPILL_LIMIT = 512 * 1024 * 1024
GARBAGE_LINES = 100
LEAVE_S = 1.0
TERM_S = 1.5
KILL_S = 2.0

_HEAD_ID = re.compile(rb'^\s*\{\s*"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*(\d+)\s*,\s*"result"')
_TAIL_ID = re.compile(rb'"id"\s*:\s*(\d+)\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')
_TAIL_ID_LAST = re.compile(rb'"jsonrpc"\s*:\s*"2\.0"\s*,\s*"id"\s*:\s*(\d+)\s*\}\s*$')

Streams = tuple[
    MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]
]


@dataclass(frozen=True, slots=True)
class Command:
    """What is started, exactly."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str | None


def environment(
    ours: Mapping[str, str], inherit: Sequence[str], given: Mapping[str, str]
) -> dict[str, str]:
    """The child's whole environment: a few names that programs need, what was asked for, what was given."""
    patterns = (*INHERITED, *inherit)
    kept = {
        name: value
        for name, value in ours.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
        and not value.startswith("()")
    }
    return {**kept, **given}


class _Reader:
    """Cuts standard output into messages; an oversized answer goes to a file as it comes."""

    def __init__(
        self,
        process: anyio.abc.Process,
        sink: MemoryObjectSendStream[SessionMessage | Exception],
        calls: set[int],
        child: Child,
        spill: Callable[[], Path],
    ) -> None:
        self._process, self._sink, self._calls = process, sink, calls
        self._child, self._spill = child, spill
        self._garbage = 0

    async def run(self) -> None:
        buffer = bytearray()
        assert self._process.stdout is not None
        async for chunk in self._process.stdout:
            first, *more = chunk.split(b"\n")
            buffer += first
            for part in more:
                await self._line(bytes(buffer))
                buffer = bytearray(part)
            if len(buffer) > PARSED_AT_ALL and self._oversized(buffer):
                rest = await self._to_file(buffer)
                buffer = bytearray(rest)
            elif len(buffer) > LISTING_LIMIT:
                self._child.trouble = f"it sent a message of more than {LISTING_LIMIT >> 20} MiB"
                return

    def _oversized(self, buffer: bytearray) -> bool:
        """Whether this can only be the answer to a call: its id is one, or ids come last and a call is open."""
        head = _HEAD_ID.match(buffer[:200])
        if head is not None:
            return int(head[1]) in self._calls
        return bool(self._calls) and buffer[:200].lstrip().startswith(b'{"result"')

    async def _to_file(self, buffer: bytearray) -> bytes:
        """Write the rest of this line to a file, answer in its place, return what came after it."""
        path = self._spill()
        head, tail, rest, size = bytes(buffer[:400]), bytes(buffer[-400:]), b"", len(buffer)
        file: IO[bytes] = await anyio.to_thread.run_sync(_open_private, path)
        try:
            await anyio.to_thread.run_sync(file.write, bytes(buffer))
            assert self._process.stdout is not None
            async for chunk in self._process.stdout:
                part, newline, rest = chunk.partition(b"\n")
                size += len(part)
                tail = (tail + part)[-400:]
                if size <= SPILL_LIMIT:
                    await anyio.to_thread.run_sync(file.write, part)
                if newline:
                    break
        finally:
            await anyio.to_thread.run_sync(file.close)
        found = _HEAD_ID.match(head) or _TAIL_ID.search(tail) or _TAIL_ID_LAST.search(tail)
        if found is None or size > SPILL_LIMIT:
            self._child.trouble = f"its answer of {size} bytes could not be kept"
            raise anyio.EndOfStream
        await self._sink.send(SessionMessage(_stand_in(int(found[1]), path, size, head)))
        return rest

    async def _line(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            if len(line) > PARSED_ON_LOOP:
                message = await anyio.to_thread.run_sync(_parsed, line)
            else:
                message = _parsed(line)
        except ValueError:
            self._garbage += 1
            if self._garbage > GARBAGE_LINES:
                self._child.trouble = "it writes to its standard output what is not JSON-RPC"
                raise anyio.EndOfStream from None
            return
        if isinstance(message, types.JSONRPCResponse | types.JSONRPCError) and isinstance(
            message.id, int
        ):
            self._calls.discard(message.id)
        await self._sink.send(SessionMessage(message))


def _parsed(line: bytes) -> types.JSONRPCMessage:
    return types.jsonrpc_message_adapter.validate_json(line, by_name=False)


def _open_private(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _stand_in(request: int, path: Path, size: int, head: bytes) -> types.JSONRPCResponse:
    """An answer that says where the real one is; marked as an error so that no schema is held against it."""
    return types.JSONRPCResponse(
        jsonrpc="2.0",
        id=request,
        result={
            "resultType": "complete",
            "content": [{"type": "text", "text": head.decode("utf-8", "replace")}],
            "isError": True,
            "_meta": {SPILLED: {"name": path.name, "bytes": size}},
        },
    )


async def _write(
    process: anyio.abc.Process, source: MemoryObjectReceiveStream[SessionMessage], calls: set[int]
) -> None:
    assert process.stdin is not None
    async with source:
        async for item in source:
            message = item.message
            if (
                isinstance(message, types.JSONRPCRequest)
                and message.method == "tools/call"
                and isinstance(message.id, int)
            ):
                calls.add(message.id)
            text = message.model_dump_json(by_alias=True, exclude_unset=True)
            await process.stdin.send(text.encode() + b"\n")


async def _drain(process: anyio.abc.Process, ring: Ring) -> None:
    assert process.stderr is not None
    with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async for chunk in process.stderr:
            ring.feed(chunk)


@contextlib.asynccontextmanager
async def open_child(
    command: Command, ring: Ring, child: Child, spill: Callable[[], Path]
) -> AsyncGenerator[Streams, None]:
    """Start the program and speak with it; on leaving, its whole process group is gone."""
    process = await anyio.open_process(
        list(command.argv), env=dict(command.env), cwd=command.cwd, start_new_session=True
    )
    child.pid = process.pid
    to_session, from_child = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    to_child, from_session = anyio.create_memory_object_stream[SessionMessage](0)
    calls: set[int] = set()
    reader = _Reader(process, to_session, calls, child, spill)

    async def read() -> None:
        try:
            with contextlib.suppress(
                anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError
            ):
                await reader.run()
        finally:
            child.ended.set()
            to_session.close()

    async def write() -> None:
        try:
            await _write(process, from_session, calls)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            child.ended.set()
            to_session.close()

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        group.start_soon(write)
        group.start_soon(_drain, process, ring)
        try:
            yield from_child, to_child
        finally:
            child.ended.set()
            with anyio.CancelScope(shield=True):
                from_child.close()
                to_child.close()
                await _end(process, child)
            group.cancel_scope.cancel()
            for stream in (from_child, to_child, from_session, to_session):
                stream.close()


async def _end(process: anyio.abc.Process, child: Child) -> None:
    """Ask by closing its input, then by SIGTERM, then SIGKILL; the group goes even if its leader left first."""
    if process.stdin is not None:
        with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            await process.stdin.aclose()
    if not await _gone(process, LEAVE_S):
        _signal(process.pid, signal.SIGTERM)
        if not await _gone(process, TERM_S):
            _signal(process.pid, signal.SIGKILL)
            await _gone(process, KILL_S)
    _signal(process.pid, signal.SIGKILL)
    child.exit_code = process.returncode
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                await pipe.aclose()
    transport = getattr(getattr(process, "_process", None), "_transport", None)
    if transport is not None:
        # A grandchild that still holds a pipe would keep the transport open, which warns when collected.
        transport.close()


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


async def _gone(process: anyio.abc.Process, within_s: float) -> bool:
    # Not process.wait(): that also waits for the pipes, which a grandchild may hold open.
    with anyio.move_on_after(within_s):
        while process.returncode is None:  # noqa: ASYNC110 (the loop sets it; there is nothing to wait on)
            await anyio.sleep(0.01)
    return process.returncode is not None
