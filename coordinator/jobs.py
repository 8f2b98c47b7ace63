"""Stored work: submitted once, run by a task of ours when its turn comes, its answer kept."""

import dataclasses
import hashlib
import logging
import time
from typing import Protocol

import anyio

from coordinator import (
    changes,
    errors,
    failpoints,
    forecast,
    messages,
    refusals,
    settings,
    store,
    work,
)
from coordinator.entry import Entry
from coordinator.ledger import moved
from coordinator.state import WorkEvent, WorkState, after
from runtimes import base
from runtimes.event_stream import EngineSaid
from runtimes.upstream import NotOffered, UpstreamError

log = logging.getLogger(__name__)

STORE_RETRY_S = 1.0
"""How long to wait before a result is offered to a full disk again."""


class Completion(Protocol):
    """One complete answer of an engine."""

    @property
    def status(self) -> int:
        """The engine's HTTP status."""

    @property
    def body(self) -> bytes:
        """One JSON document."""

    @property
    def first_token_ms(self) -> int | None:
        """From the request to the first token."""

    @property
    def prompt_tokens(self) -> int | None:
        """As the engine counted them."""

    @property
    def output_tokens(self) -> int | None:
        """As the engine counted them."""


class Engine(Protocol):
    """What asks an engine on behalf of a job."""

    async def complete(
        self, running: base.Running, spec: base.RuntimeSpec, path: str, body: bytes
    ) -> Completion:
        """Ask, streamed, and fold the answer; being cancelled stops the engine's work."""


class Desk(Protocol):
    """What jobs need of the loop."""

    def tell(self, message: messages.Message) -> None:
        """Never waits."""

    @property
    def stopping(self) -> bool:
        """Whether the gateway is going down."""

    async def place(self, request: work.WorkRequest, body_hash: str | None) -> messages.Placed:
        """A place in line, held back if the work is stored."""


@dataclasses.dataclass(frozen=True, slots=True)
class Submitted:
    """The answer to a submission."""

    item: work.WorkItem
    outlook: forecast.Outlook | None
    joined: bool
    """The same key and body were submitted before: this is that work."""


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """Stored work, as its owner may see it."""

    item: work.WorkItem
    outlook: forecast.Outlook | None
    result: changes.ResultKept | None


def fingerprint(request: work.WorkRequest) -> str:
    """What two submissions with one key must share."""
    digest = hashlib.sha256(request.path.encode())
    digest.update(request.runtime.encode() + b"\0" + (request.body or b""))
    return digest.hexdigest()


class Jobs:
    """Submits and runs stored work; the loop spawns `run` when it grants one."""

    def __init__(
        self, desk: Desk, store_: store.Store, engine: Engine, limits: settings.CoordinatorSettings
    ) -> None:
        self._desk, self._store, self._engine, self._limits = desk, store_, engine, limits

    async def submit(self, request: work.WorkRequest) -> tuple[work.WorkItem, bool]:
        """The row, committed; and whether it was there already."""
        body_hash = fingerprint(request)
        if request.idempotency_key is not None:
            known = await self._store.by_key(request.owner, request.idempotency_key)
            if known is not None:
                return self._same(known, body_hash, request.idempotency_key), True
        placed = await self._desk.place(request, body_hash)
        entry = placed.entry
        if placed.joined:
            return await self._join(entry)
        kept = False
        with anyio.CancelScope(shield=True):  # admitted or not, never something between
            try:
                failpoints.reach("job_admitted")
                await self._store.commit(changes.Enqueued(entry.item, request.body, body_hash))
                kept = True
            except refusals.KeyTaken:
                # It came, ran and was forgotten between our look and our commit.
                return await self.submit(request)
            finally:
                self._desk.tell(messages.Committed(entry, kept))
        failpoints.reach("job_committed")
        return entry.item, False

    def _same(self, known: tuple[work.WorkItem, str], body_hash: str, key: str) -> work.WorkItem:
        item, its_hash = known
        if its_hash != body_hash:
            raise errors.IdempotencyConflict(key, item.id)
        return item

    async def _join(self, entry: Entry) -> tuple[work.WorkItem, bool]:
        """Another submission with this key came first, and may still be committing."""
        await entry.on_disk.wait()
        if not entry.kept:
            raise errors.StorageUnavailable("the first submission with this key was not kept")
        return entry.item, True

    async def run(self, entry: Entry) -> None:
        """One attempt of granted work."""
        outcome: messages.Outcome | None = None
        try:
            if await self._commit_grant(entry):
                with entry.scope:
                    outcome = await self._attempt(entry)
        except Exception:  # a defect in one job must not end the queue
            log.exception("%s could not be run", entry.id)
            outcome = messages.Outcome("failed", "internal_error", "internal_error", "see the log")
        finally:
            self._desk.tell(messages.Left(entry, outcome or self._cut_off(entry)))

    async def _commit_grant(self, entry: Entry) -> bool:
        """On disk before the engine hears of it, so that an attempt is counted whatever comes next."""
        failpoints.reach("job_granted")
        with anyio.CancelScope(shield=True):
            try:
                await self._store.commit(moved(entry.item, WorkState.QUEUED, "granted"))
            except errors.StorageUnavailable:
                await anyio.sleep(STORE_RETRY_S)  # else a full disk would make this a busy loop
                return False
            entry.told = WorkState.RUNNING
        failpoints.reach("job_running")
        return True

    def _cut_off(self, entry: Entry) -> messages.Outcome:
        """The attempt was cancelled: by whom decides what becomes of the job."""
        match entry.error:
            case errors.WorkCancelled() as cancelled:
                return messages.Outcome("cancelled", "cancelled", "cancelled", str(cancelled))
            case errors.RuntimeFailed() | errors.ShuttingDown():
                return messages.Outcome("given_back", "interrupted", "interrupted")
        if entry.item.run_timeout_s is not None and entry.scope.cancel_called:
            error = errors.RunTimeout(entry.item.run_timeout_s)
            return messages.Outcome("failed", "run_timeout", "run_timeout", str(error))
        return messages.Outcome("given_back", "interrupted", "interrupted")

    async def _attempt(self, entry: Entry) -> messages.Outcome:
        resident = entry.resident
        if resident is None or resident.running is None:
            return messages.Outcome("given_back", "engine_lost", "upstream_error")
        running, spec = resident.running, resident.spec
        body = await self._store.body(entry.id)
        entry.received = True
        try:
            answer = await self._engine.complete(running, spec, entry.item.path, body or b"{}")
        except (UpstreamError, EngineSaid, NotOffered) as error:
            log.warning("the engine broke while it ran %s: %s", entry.id, error)
            lost = isinstance(error, UpstreamError) and error.kind == "refused"
            return messages.Outcome(
                "given_back", "upstream_error", "upstream_error", str(error), engine_lost=lost
            )
        failpoints.reach("job_answered")
        return await self._keep(entry, answer)

    async def _keep(self, entry: Entry, answer: Completion) -> messages.Outcome:
        """The result and the final row in one transaction; a full disk only delays them."""
        good = answer.status < 400
        limit = self._limits.max_result_bytes
        kept = changes.ResultKept(
            entry.id, answer.body[:limit], "application/json", len(answer.body) > limit
        )
        told = messages.Outcome(
            "succeeded" if good else "failed",
            "succeeded" if good else "upstream_error",
            None if good else "upstream_error",
            None if good else f"the engine answered {answer.status}",
            answer.first_token_ms,
            answer.prompt_tokens,
            answer.output_tokens,
            written=True,
        )
        final = dataclasses.replace(
            entry.item,
            state=after(WorkState.RUNNING, WorkEvent.SUCCEED if good else WorkEvent.FAIL),
            ended_at=time.time(),
            code=told.code,
            message=told.message,
            first_token_ms=told.first_token_ms,
            prompt_tokens=told.prompt_tokens or entry.item.prompt_tokens,
            output_tokens=told.output_tokens,
        )
        with anyio.CancelScope(shield=True):
            if not await self._write(kept, moved(final, WorkState.RUNNING, told.reason)):
                return messages.Outcome("given_back", "storage_unavailable", "storage_unavailable")
        entry.told = final.state
        failpoints.reach("job_ended")
        return told

    async def _write(self, *what: changes.Change) -> bool:
        """Whether it is on disk; false only when the gateway stops while the disk is still full."""
        while not self._desk.stopping:
            try:
                await self._store.commit(*what)
            except errors.StorageUnavailable:
                await anyio.sleep(STORE_RETRY_S)
            else:
                return True
        return False
