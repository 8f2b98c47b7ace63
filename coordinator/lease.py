"""A lease: the only way to reach an engine. It waits for its grant and gives back whatever it holds."""

from types import TracebackType
from typing import Protocol

import anyio
import anyio.lowlevel

from coordinator import errors, forecast, messages, residency, work
from coordinator.entry import Entry
from runtimes import base


class Desk(Protocol):
    """What a lease needs of the loop."""

    async def admit(self, request: work.WorkRequest) -> Entry:
        """A place in line, or `Refused`."""

    def tell(self, message: messages.Message) -> None:
        """Never waits, so it is safe while being cancelled."""

    def outlook(self, work_id: str) -> forecast.Outlook | None:
        """When its turn comes."""


class Lease:
    """`async with coordinator.lease(request) as lease:`, then `await lease.granted()`, then the engine.

    Leaving the block, in whatever way, frees the place or the slot at once. While the block holds
    a slot, a cancel, a run timeout or a lost engine cancels the block's body, and the statement
    raises `WorkCancelled`, `RunTimeout` or `RuntimeFailed` on the way out.
    """

    def __init__(self, desk: Desk, request: work.WorkRequest) -> None:
        self._desk, self._request = desk, request
        self._entry: Entry | None = None
        self._outcome: messages.Outcome | None = None

    async def __aenter__(self) -> "Lease":
        self._entry = await self._desk.admit(self._request)
        self._entry.scope.__enter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        entry = self._held()
        swallowed = bool(entry.scope.__exit__(kind, error, traceback))
        if not swallowed:
            self._desk.tell(messages.Left(entry, self._outcome or _outcome_of(entry, error)))
            return False
        why = entry.error or errors.RunTimeout(entry.item.run_timeout_s or 0.0)
        cancelled = isinstance(why, errors.WorkCancelled)
        outcome = messages.Outcome(
            "cancelled" if cancelled else "failed", why.code, code=why.code, message=str(why)
        )
        self._desk.tell(messages.Left(entry, outcome))
        raise why

    async def granted(self, timeout_s: float | None = None) -> bool:
        """True once granted, False after `timeout_s` of waiting; raises why it will never be."""
        entry = self._held()
        await anyio.lowlevel.checkpoint_if_cancelled()  # a client that is gone receives no grant
        if not entry.decided.is_set():
            with anyio.move_on_after(timeout_s):
                await entry.decided.wait()
            if not entry.decided.is_set():
                return False
        if entry.error is not None:
            raise entry.error
        entry.received = True
        return True

    def finish(
        self,
        *,
        first_token_ms: int | None = None,
        prompt_tokens: int | None = None,
        output_tokens: int | None = None,
    ) -> None:
        """The engine's answer is complete."""
        self._outcome = messages.Outcome(
            "succeeded",
            "succeeded",
            first_token_ms=first_token_ms,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
        )

    def fail(self, code: str, message: str, *, engine_lost: bool = False) -> None:
        """There will be no complete answer; with `engine_lost`, the engine takes no connection."""
        self._outcome = messages.Outcome(
            "failed", code, code=code, message=message, engine_lost=engine_lost
        )

    def outlook(self) -> forecast.Outlook | None:
        """Position, time and reason of the waiting, as far as they are known."""
        return self._desk.outlook(self.id)

    def progress(self) -> base.LoadProgress | None:
        """How far the load is that it waits for."""
        awaited = self._held().awaits
        return None if awaited is None else awaited.progress

    @property
    def id(self) -> str:
        """The work item's id."""
        return self._held().id

    @property
    def spec(self) -> base.RuntimeSpec:
        """The granted runtime."""
        return self._granted_resident().spec

    @property
    def running(self) -> base.Running:
        """Where to send the request."""
        running = self._granted_resident().running
        if running is None:
            raise RuntimeError("the engine of a held lease has no address")
        return running

    @property
    def queue_ms(self) -> int:
        """Time waited for others, without the load."""
        return self._held().item.queue_ms or 0

    @property
    def load_ms(self) -> int:
        """Time waited for the runtime's own load."""
        return self._held().item.load_ms or 0

    def _held(self) -> Entry:
        if self._entry is None:
            raise RuntimeError("a lease is used inside its `async with` block")
        return self._entry

    def _granted_resident(self) -> residency.Resident:
        resident = self._held().resident
        if resident is None:
            raise RuntimeError("the lease is not granted yet: await granted() first")
        return resident


def _outcome_of(entry: Entry, error: BaseException | None) -> messages.Outcome:
    """How a block ended that did not say so itself."""
    if error is None:
        kind = "succeeded" if entry.received else "client_left"
        return messages.Outcome(kind, kind)
    if isinstance(error, anyio.get_cancelled_exc_class()):
        return messages.Outcome("client_left", "client_left", code="cancelled")
    if isinstance(error, errors.CoordinatorError):
        return messages.Outcome("failed", error.code, code=error.code, message=str(error))
    return messages.Outcome(
        "failed", "upstream_error", code="upstream_error", message=type(error).__name__
    )
