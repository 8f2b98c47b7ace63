"""`lmg mcp-stdio`: MCP over stdin and stdout for clients that can only start a program, relayed to the gateway.

It reads no more of a message than it needs to send it on, so every protocol revision passes as it is.
"""

import base64
import json
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import anyio
import anyio.abc
import httpx2
from anyio import to_thread

VERSION_META = "io.modelcontextprotocol/protocolVersion"
LOST, PARSE_ERROR = -32000, -32700
CONNECT_S = 5.0
_NAMES = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
"""Where the stateless revision wants which parameter repeated in the `Mcp-Name` header."""

Message = dict[str, Any]  # Any: JSON


def main(url: str, headers: Mapping[str, str]) -> int:
    """Relay until the client closes our stdin; the exit code."""
    bridge = Bridge(url, headers, sys.stdin.buffer, sys.stdout.buffer)
    anyio.run(bridge.run)
    return 0


class Lost(Exception):
    """The gateway did not answer as a gateway does; the text is for the client's user."""


@dataclass
class Bridge:
    """One client on stdio, one gateway over HTTP."""

    url: str
    headers: Mapping[str, str]
    stdin: BinaryIO
    stdout: BinaryIO
    _session: str | None = None
    _version: str | None = None
    _initialize: Message | None = None
    """Kept, so that a session that ended can be made again without the client's knowing."""
    _running: dict[Any, anyio.CancelScope] = field(default_factory=dict)
    _writing: anyio.Lock = field(default_factory=anyio.Lock)
    _renewing: anyio.Lock = field(default_factory=anyio.Lock)

    async def run(self) -> None:
        """Requests side by side; everything else in the order in which it came."""
        timeout = httpx2.Timeout(None, connect=CONNECT_S)
        async with (
            httpx2.AsyncClient(
                headers=dict(self.headers), timeout=timeout, trust_env=False
            ) as http,
            anyio.create_task_group() as group,
        ):
            while line := await to_thread.run_sync(self.stdin.readline, abandon_on_cancel=True):
                if line.strip():
                    await self._take(line, http, group)
            group.cancel_scope.cancel()
        if self._session is not None:
            await self._goodbye()

    async def _take(
        self, line: bytes, http: httpx2.AsyncClient, group: anyio.abc.TaskGroup
    ) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            await self._write(_error(None, PARSE_ERROR, "this line is not JSON"))
            return
        if not isinstance(message, dict):
            await self._write(_error(None, PARSE_ERROR, "this line is not one message"))
        elif "method" in message and "id" in message:
            scope = self._running[_key(message["id"])] = anyio.CancelScope()
            group.start_soon(self._request, http, message, scope)
        else:
            await self._notify(http, message)

    async def _notify(self, http: httpx2.AsyncClient, message: Message) -> None:
        """Notifications and answers; a cancellation also closes the stream that it is about."""
        if message.get("method") == "notifications/cancelled":
            scope = self._running.get(_key(message.get("params", {}).get("requestId")))
            if scope is not None and self._session is None:
                scope.cancel()  # in the stateless revision, closing the stream is the cancellation
                return
        try:
            response = await http.post(self.url, json=message, headers=self._head(message))
            await response.aread()
        except httpx2.HTTPError:
            pass  # whoever waits for an answer is told; nobody waits for this one

    async def _request(
        self, http: httpx2.AsyncClient, message: Message, scope: anyio.CancelScope
    ) -> None:
        with scope:
            try:
                await self._relay(http, message)
            except Lost as error:
                await self._write(_error(message["id"], LOST, str(error)))
            except httpx2.ConnectError:
                text = f"no gateway answers at {self.url}; start it with `lmg up`"
                await self._write(_error(message["id"], LOST, text))
            except httpx2.HTTPError as error:
                text = f"the connection to {self.url} broke ({type(error).__name__}); jobs go on, look with get_job"
                await self._write(_error(message["id"], LOST, text))
        self._running.pop(_key(message["id"]), None)

    async def _relay(self, http: httpx2.AsyncClient, message: Message, again: bool = True) -> None:
        """One request and everything that belongs to it, up to its answer."""
        used = self._session
        async with http.stream(
            "POST", self.url, json=message, headers=self._head(message)
        ) as response:
            if response.status_code == httpx2.codes.NOT_FOUND and used is not None and again:
                await response.aread()
                await self._renew(http, used)
                await self._relay(http, message, again=False)
                return
            if message["method"] == "initialize":
                self._initialize = message
                self._session = response.headers.get("mcp-session-id")
            async for answer in _messages(response):
                self._look(answer, message)
                await self._write(answer)
                if answer.get("id") == message["id"] and "method" not in answer:
                    return
        raise Lost(f"the gateway closed the answer early (HTTP {response.status_code})")

    def _look(self, answer: Message, asked: Message) -> None:
        """What the older revisions settle once and then repeat in every header."""
        result = answer.get("result")
        if asked["method"] == "initialize" and isinstance(result, dict):
            self._version = result.get("protocolVersion")

    async def _renew(self, http: httpx2.AsyncClient, ended: str) -> None:
        """Another session in place of one that the gateway has forgotten."""
        async with self._renewing:
            if self._session != ended or self._initialize is None:
                return
            self._session = None
            message = {**self._initialize, "id": "lmg-renew"}
            async with http.stream(
                "POST", self.url, json=message, headers=self._head(message)
            ) as response:
                async for answer in _messages(response):
                    if answer.get("id") == message["id"]:
                        break
                self._session = response.headers.get("mcp-session-id")
            told = {"jsonrpc": "2.0", "method": "notifications/initialized"}
            await http.post(self.url, json=told, headers=self._head(told))

    def _head(self, message: Message) -> dict[str, str]:
        """The headers that go with this message in its revision."""
        head = {"accept": "application/json, text/event-stream"}
        params = message.get("params")
        params = params if isinstance(params, dict) else {}
        meta = params.get("_meta")
        version = meta.get(VERSION_META) if isinstance(meta, dict) else None
        method = message.get("method")
        if version is not None and method is not None:
            head |= {"mcp-protocol-version": str(version), "mcp-method": str(method)}
            name = params.get(_NAMES.get(method, ""))
            if name is not None:
                head["mcp-name"] = _header(str(name))
        elif self._version is not None and method != "initialize":
            head["mcp-protocol-version"] = self._version
        if self._session is not None and method != "initialize":
            head["mcp-session-id"] = self._session
        return head

    async def _write(self, message: Message) -> None:
        """One line, whole."""
        line = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        async with self._writing:
            await to_thread.run_sync(self._flush, line)

    def _flush(self, line: bytes) -> None:
        self.stdout.write(line)
        self.stdout.flush()

    async def _goodbye(self) -> None:
        """End the session; the gateway would forget it by itself, only later."""
        with anyio.move_on_after(1):
            async with httpx2.AsyncClient(headers=dict(self.headers), trust_env=False) as http:
                try:
                    await http.delete(self.url, headers=self._head({"method": "bye"}))
                except httpx2.HTTPError:
                    return


async def _messages(response: httpx2.Response) -> AsyncIterator[Message]:
    """The messages of an answer, be it one document or a stream of events."""
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        data: list[str] = []
        async for line in response.aiter_lines():
            if line.startswith("data:"):
                data.append(line[5:].strip())
            elif not line and data:
                text, data = "\n".join(data), []
                if text:
                    yield json.loads(text)
        return
    body = await response.aread()
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and answer.get("jsonrpc") == "2.0":
        yield answer
        return
    raise Lost(_refused(response.status_code, answer))


def _refused(status: int, answer: Any) -> str:  # Any: whatever the body was
    error = answer.get("error") if isinstance(answer, dict) else None
    words = error.get("message") if isinstance(error, dict) else None
    return f"the gateway refused it (HTTP {status}): {words or 'without saying why'}"


def _error(message_id: Any, code: int, text: str) -> Message:  # Any: the protocol allows both kinds
    return {"jsonrpc": "2.0", "id": message_id, "error": {"code": code, "message": text}}


def _header(value: str) -> str:
    """As the protocol wants what a header cannot hold as it is."""
    plain = value.isascii() and value.isprintable() and value == value.strip()
    if plain and not value.startswith("=?base64?"):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


def _key(message_id: Any) -> tuple[str, Any]:  # Any: as above
    """1 and "1" are two ids."""
    return type(message_id).__name__, message_id
