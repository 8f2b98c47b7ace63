"""The states of a work item, as one table; nothing else may change a state."""

import enum
from collections.abc import Mapping
from types import MappingProxyType


class WorkState(enum.StrEnum):
    """Where a work item is. Waiting for a swap is not a state; neither is a cancel that was asked for."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class WorkEvent(enum.StrEnum):
    """What can happen to a work item."""

    GRANT = "grant"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"
    GIVE_BACK = "give_back"


SENTENCES: Mapping[WorkState, str] = MappingProxyType(
    {
        WorkState.QUEUED: "Admitted, and waiting for a slot, a load or a swap.",
        WorkState.RUNNING: "Holds a lease: one slot of one ready runtime.",
        WorkState.SUCCEEDED: "The answer is complete.",
        WorkState.FAILED: "Ended without an answer; `code` says why.",
        WorkState.CANCELLED: "Ended because somebody asked for it, or its client left.",
    }
)

_S, _E = WorkState, WorkEvent

TRANSITIONS: Mapping[tuple[WorkState, WorkEvent], WorkState] = MappingProxyType(
    {
        (_S.QUEUED, _E.GRANT): _S.RUNNING,
        (_S.QUEUED, _E.FAIL): _S.FAILED,
        (_S.QUEUED, _E.CANCEL): _S.CANCELLED,
        (_S.RUNNING, _E.SUCCEED): _S.SUCCEEDED,
        (_S.RUNNING, _E.FAIL): _S.FAILED,
        (_S.RUNNING, _E.CANCEL): _S.CANCELLED,
        # A stored job whose attempt was cut off, with attempts left; it keeps its place in line.
        (_S.RUNNING, _E.GIVE_BACK): _S.QUEUED,
    }
)

TERMINAL = frozenset({WorkState.SUCCEEDED, WorkState.FAILED, WorkState.CANCELLED})


class IllegalTransition(Exception):
    """The event cannot happen in this state; nothing was changed."""

    def __init__(self, state: WorkState, event: WorkEvent) -> None:
        super().__init__(f"work that is {state} cannot take {event}")
        self.state, self.event = state, event


def after(state: WorkState, event: WorkEvent) -> WorkState:
    """The state that follows, or `IllegalTransition`."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(state, event) from None
