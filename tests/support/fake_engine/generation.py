"""One answer of the fake engine, streamed or whole, with everything that may go wrong on the way."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from tests.support.fake_engine import answers, knobs, wire
from tests.support.fake_engine.engine import Engine

POLL_S = 0.02


class ClientLeft(Exception):
    """The client hung up before the answer was whole."""


@dataclass(slots=True)
class Generation:
    """One request that is being answered."""

    engine: Engine
    connection: wire.Connection
    id: str
    chat: bool
    body: dict[str, Any]
    prompt: str
    asked: knobs.Triggers
    streamed: bool
    done: int = 0

    async def answer(self) -> None:
        """Answer as asked; raises `ClientLeft`, or `ConnectionError` after a cut."""
        if await self._refused():
            return
        if "deaf" in self.asked or "stall-first" in self.asked:
            await self._silence()
        await self._prefill()
        if self.streamed:
            await self._stream()
        else:
            await self._whole()

    async def _refused(self) -> bool:
        if "die-first" in self.asked:
            self.engine.die(9, "died before the first byte")
        if "cut-first" in self.asked:
            self.connection.abort()
            raise ConnectionError
        if self.engine.knobs.http_500 or "http500" in self.asked:
            await self.connection.send(500, {"error": {"message": "boom", "code": 500}})
            return True
        if "http400" in self.asked:
            error = {"message": "no such parameter", "type": "invalid_request_error", "code": 400}
            await self.connection.send(400, {"error": error})
            return True
        return False

    async def _prefill(self) -> None:
        if not self.asked.prefill_ms:
            return
        for step in range(1, 5):
            await self._wait(self.asked.prefill_ms / 4000)
            if self.streamed and self.body.get("return_progress"):
                await self._begin_once()
                total = answers.prompt_tokens(self.prompt)
                progress = {
                    "total": total,
                    "cache": 0,
                    "processed": total * step // 4,
                    "time_ms": 1,
                }
                await self.connection.event({**self._envelope([]), "prompt_progress": progress})

    async def _begin_once(self) -> None:
        if not self.connection.chunked:
            await self.connection.begin()

    async def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while True:
            self._mind_leavers()
            left = until - loop.time()
            if left <= 0:
                return
            await asyncio.sleep(min(left, POLL_S))

    def _mind_leavers(self) -> None:
        if self.engine.knobs.blind_to_leavers and not self.streamed:
            return
        if self.connection.gone():
            raise ClientLeft

    async def _silence(self) -> None:
        while True:
            await self._wait(1.0)

    def _words(self) -> list[str]:
        if "empty" in self.asked:
            return []
        limit = self.body.get("max_completion_tokens") or self.body.get("max_tokens")
        count = self.asked.tokens or self.engine.knobs.tokens
        count = min(count, limit) if isinstance(limit, int) else count
        return answers.words(self.engine.knobs.model, self.prompt, count)

    async def _tokens(self) -> AsyncIterator[str]:
        words = self._words()
        delay_ms = self.asked.delay_ms
        delay_ms = self.engine.knobs.token_delay_ms if delay_ms is None else delay_ms
        middle = max(1, len(words) // 2)
        for number, word in enumerate(words):
            await self._wait(delay_ms / 1000)
            if number == middle:
                await self._break_in_the_middle()
            if number == self.engine.knobs.stall_after:
                await self._silence()
            self.done += 1
            yield word

    async def _break_in_the_middle(self) -> None:
        if "die" in self.asked:
            self.engine.die(9, "died in the middle of a generation")
        if "cut" in self.asked:
            self.connection.abort()
            raise ConnectionError
        if "stall" in self.asked:
            await self._silence()
        if self.streamed and (self.engine.knobs.garbage or "garbage" in self.asked):
            await self.connection.chunk(
                b'data: {"choices": [{"del\xff\x00\n\nnot an event at all\n\n'
            )

    def _envelope(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        kind = ("chat.completion" if self.chat else "text_completion") + (
            ".chunk" if self.streamed and self.chat else ""
        )
        model = self.engine.knobs.model
        return {
            "id": self.id,
            "object": kind,
            "created": 1_700_000_000,
            "model": model,
            "choices": choices,
        }

    def _usage(self) -> dict[str, int]:
        prompt = answers.prompt_tokens(self.prompt)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self.done,
            "total_tokens": prompt + self.done,
        }

    def _delta(self, delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
        part = {"delta": delta} if self.chat else {"text": delta.get("content", "")}
        return self._envelope([{"index": 0, **part, "finish_reason": finish}])

    async def _stream(self) -> None:
        await self._begin_once()
        if self.chat:
            await self.connection.event(self._delta({"role": "assistant", "content": None}, None))
        if "tool" in self.asked:
            await self.connection.event(self._delta({"tool_calls": [self._tool_call()]}, None))
        else:
            async for word in self._tokens():
                await self.connection.event(self._delta({"content": word}, None))
        await self.connection.event(self._delta({}, self._finish()))
        if self._wants_usage():
            await self.connection.event({**self._envelope([]), "usage": self._usage()})
        if not (self.engine.knobs.no_done or "nodone" in self.asked):
            await self.connection.chunk(b"data: [DONE]\n\n")
        await self.connection.end()

    async def _whole(self) -> None:
        content = "".join([word async for word in self._tokens()])
        if self.engine.knobs.garbage or "garbage" in self.asked:
            await self.connection.send(200, b'{"choices": [{"mess')
            return
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if "tool" in self.asked:
            message |= {"content": None, "tool_calls": [self._tool_call()]}
        part = {"message": message} if self.chat else {"text": content}
        choice = {"index": 0, **part, "finish_reason": self._finish()}
        usage = {} if self.engine.knobs.no_usage else {"usage": self._usage()}
        await self.connection.send(200, {**self._envelope([choice]), **usage})

    def _finish(self) -> str:
        if "tool" in self.asked:
            return "tool_calls"
        limit = self.body.get("max_completion_tokens") or self.body.get("max_tokens")
        return "length" if limit == self.done else "stop"

    def _wants_usage(self) -> bool:
        if self.engine.knobs.no_usage or "no-usage" in self.asked:
            return False
        return bool((self.body.get("stream_options") or {}).get("include_usage"))

    @staticmethod
    def _tool_call() -> dict[str, Any]:
        call = {"name": "get_weather", "arguments": '{"city":"Rome"}'}
        return {"index": 0, "id": "call_0", "type": "function", "function": call}
