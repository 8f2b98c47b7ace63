"""Whatever is asked of the store, in whatever order, its rows are what a plain dictionary says."""

import dataclasses
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from anyio import from_thread
from hypothesis import stateful
from hypothesis import strategies as some

from coordinator import changes, refusals, state, work
from tests.coordinator.store import making
from tests.coordinator.store.making import Work

LEGAL = {(before, after) for (before, _), after in state.TRANSITIONS.items()}


@dataclasses.dataclass
class Known:
    """What the dictionary knows of one item."""

    item: work.WorkItem
    state: Work = Work.QUEUED
    attempts: int = 0
    transitions: int = 1
    cancel_requested: bool = False

    def move(self, after: Work) -> None:
        self.state = after
        self.transitions += 1
        self.attempts += after is Work.RUNNING


class Rows(stateful.RuleBasedStateMachine):
    """The store on one side, a dictionary on the other."""

    items = stateful.Bundle("items")

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, Known] = {}
        self.keys: set[str] = set()
        self.stack = ExitStack()
        self.state_dir = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.portal = self.stack.enter_context(from_thread.start_blocking_portal("asyncio"))
        self.opened: Any = None  # Any: a context manager without a public name
        self.open()

    def open(self) -> None:
        self.opened = self.portal.wrap_async_context_manager(making.owned_store(self.state_dir))
        self.store = self.opened.__enter__()
        self.recover()

    def teardown(self) -> None:
        with self.stack:
            self.opened.__exit__(None, None, None)

    def write(self, noted: bool, *written: changes.Change) -> bool:
        """Whether it was written, as far as the store tells."""
        if noted:
            self.portal.call(self.store.note, *written)
            return True
        try:
            self.portal.call(self.store.commit, *written)
        except refusals.ChangeRefused:
            return False
        return True

    @stateful.rule(
        target=items,
        stored=some.booleans(),
        noted=some.booleans(),
        max_attempts=some.integers(1, 3),
        key=some.sampled_from([None, None, "a", "b"]),
    )
    def enqueue(self, stored: bool, noted: bool, max_attempts: int, key: str | None) -> str:
        durability = work.Durability.STORED if stored else work.Durability.CONNECTION
        one = making.item(durability=durability, max_attempts=max_attempts, idempotency_key=key)
        fits = not (stored and key in self.keys)
        assert self.write(noted, changes.Enqueued(one, b"{}" if stored else None)) is (
            fits or noted
        )
        if fits:
            self.known[one.id] = Known(one)
            if stored and key is not None:
                self.keys.add(key)
        return one.id

    @stateful.rule(
        work_id=items,
        before=some.sampled_from(Work),
        after=some.sampled_from(Work),
        noted=some.booleans(),
    )
    def move(self, work_id: str, before: Work, after: Work, noted: bool) -> None:
        code = "why" if after is Work.FAILED else None
        moved = changes.Moved(work_id, before, after, time.time(), "moved", code)
        known = self.known.get(work_id)
        fits = known is not None and known.state is before and (before, after) in LEGAL
        # A move to where it is would be none; the loop never asks for one.
        hypothesis.assume(before is not after)
        assert self.write(noted, moved) is (fits or noted)
        if fits and known is not None:
            known.move(after)

    @stateful.rule(work_id=items, noted=some.booleans())
    def live_on(self, work_id: str, noted: bool) -> None:
        """The next step that is legal, so that lives are not all short."""
        known = self.known.get(work_id)
        if known is not None and known.state not in state.TERMINAL:
            after = Work.RUNNING if known.state is Work.QUEUED else Work.SUCCEEDED
            self.move(work_id, known.state, after, noted)

    @stateful.rule(work_id=items)
    def request_cancel(self, work_id: str) -> None:
        known = self.known.get(work_id)
        assert self.write(False, changes.CancelRequested(work_id, 1.0)) is (known is not None)
        if known is not None:
            known.cancel_requested = True

    @stateful.rule()
    def take_over_again(self) -> None:
        self.portal.call(self.store.take_over)
        self.recover()

    @stateful.rule()
    def restart(self) -> None:
        self.opened.__exit__(None, None, None)
        self.open()

    def recover(self) -> None:
        for known in self.known.values():
            if known.state in state.TERMINAL:
                continue
            if known.item.durability is work.Durability.CONNECTION:
                known.move(Work.FAILED)
            elif known.cancel_requested:
                known.move(Work.CANCELLED)
            elif known.state is Work.RUNNING:
                used_up = known.attempts >= known.item.max_attempts
                known.move(Work.FAILED if used_up else Work.QUEUED)

    @stateful.rule()
    def prune(self) -> None:
        """Nothing is old: nothing goes but the bodies of what has ended."""
        assert self.portal.call(self.store.prune) == 0

    @stateful.invariant()
    def rows_are_as_known(self) -> None:
        rows = self.portal.call(self.store.items, None, None, 1000)
        assert {row.id: (row.state, row.attempts) for row in rows} == {
            work_id: (known.state, known.attempts) for work_id, known in self.known.items()
        }
        for work_id, known in self.known.items():
            assert len(self.portal.call(self.store.events, work_id)) == known.transitions
        ends = [row.state for row in rows if row.state in state.TERMINAL]
        assert sum(self.portal.call(self.store.counts).ever.values()) == len(ends)


@pytest.mark.timeout(180)
def test_rows_are_what_a_dictionary_says() -> None:
    stateful.run_state_machine_as_test(
        Rows,
        settings=hypothesis.settings(max_examples=30, stateful_step_count=25, deadline=None),
    )
