"""Several waits at once; the first that ends decides."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

T = TypeVar("T")


async def first(*waits: Callable[[], Awaitable[T]]) -> T:
    """What the first of them returned; the others are cancelled and have ended."""
    results: list[T] = []
    async with anyio.create_task_group() as group:

        async def run(wait: Callable[[], Awaitable[T]]) -> None:
            results.append(await wait())
            group.cancel_scope.cancel()

        for wait in waits:
            group.start_soon(run, wait)
    return results[0]


async def until(condition: Callable[[], Awaitable[bool]], every_s: float) -> None:
    """Look again and again, where nothing announces the change; the caller sets the deadline."""
    while not await condition():  # noqa: ASYNC110 - what is waited for is outside of this process
        await anyio.sleep(every_s)
