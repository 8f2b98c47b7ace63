"""The states of a runtime, as one table; nothing else may change a state."""

import enum
from collections.abc import Mapping
from types import MappingProxyType


class RuntimeState(enum.StrEnum):
    """Where a managed engine is in its life. All but `stopped` hold memory."""

    UNKNOWN = "unknown"
    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    SETTLING = "settling"


class RuntimeEvent(enum.StrEnum):
    """What can happen to a runtime."""

    FOUND = "found"
    NOT_FOUND = "not_found"
    START = "start"
    BECAME_READY = "became_ready"
    LOAD_FAILED = "load_failed"
    DRAIN = "drain"
    KEEP = "keep"
    STOP = "stop"
    DIED = "died"
    GONE = "gone"
    SETTLED = "settled"


SENTENCES: Mapping[RuntimeState, str] = MappingProxyType(
    {
        RuntimeState.UNKNOWN: "The gateway has just started and has not looked yet whether an engine of its own is still there.",
        RuntimeState.STOPPED: "No process, no memory; a failure of the last start is data on this state.",
        RuntimeState.STARTING: "The engine was asked to start and is not healthy yet.",
        RuntimeState.READY: "Healthy; work is granted up to its slots.",
        RuntimeState.DRAINING: "Serves what it has and is granted nothing new, so that it can stop.",
        RuntimeState.STOPPING: "Nothing runs on it; the engine was told to stop.",
        RuntimeState.SETTLING: "The engine is gone; its memory is not all back yet.",
    }
)

_S, _E = RuntimeState, RuntimeEvent

TRANSITIONS: Mapping[tuple[RuntimeState, RuntimeEvent], RuntimeState] = MappingProxyType(
    {
        (_S.UNKNOWN, _E.FOUND): _S.READY,
        (_S.UNKNOWN, _E.NOT_FOUND): _S.STOPPED,
        (_S.STOPPED, _E.START): _S.STARTING,
        (_S.STARTING, _E.BECAME_READY): _S.READY,
        (_S.STARTING, _E.LOAD_FAILED): _S.SETTLING,
        (_S.STARTING, _E.STOP): _S.STOPPING,
        (_S.READY, _E.DRAIN): _S.DRAINING,
        (_S.READY, _E.STOP): _S.STOPPING,
        (_S.READY, _E.DIED): _S.SETTLING,
        (_S.DRAINING, _E.KEEP): _S.READY,
        (_S.DRAINING, _E.STOP): _S.STOPPING,
        (_S.DRAINING, _E.DIED): _S.SETTLING,
        (_S.STOPPING, _E.GONE): _S.SETTLING,
        (_S.SETTLING, _E.SETTLED): _S.STOPPED,
    }
)


class IllegalTransition(Exception):
    """The event cannot happen in this state; nothing was changed."""

    def __init__(self, state: RuntimeState, event: RuntimeEvent) -> None:
        super().__init__(f"a runtime that is {state} cannot take {event}")
        self.state, self.event = state, event


def after(state: RuntimeState, event: RuntimeEvent) -> RuntimeState:
    """The state that follows, or `IllegalTransition`."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(state, event) from None


def holds_memory(state: RuntimeState) -> bool:
    """Whether a runtime in this state may own part of the pool."""
    return state is not RuntimeState.STOPPED
