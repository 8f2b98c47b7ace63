"""Plain words for what waits and why; agents read these before they read any field."""

from typing import Protocol

_REASONS = {
    "slot": "every slot is busy",
    "swap": "another model has to leave first",
    "load": "its model is loading",
    "whole_gpu": "it needs the whole GPU",
    "paused": "the queue is paused",
    "runtime_failed": "its runtime failed and is tried again soon",
}


class Outlook(Protocol):
    """When and why; as the coordinator forecasts it."""

    @property
    def position(self) -> int | None:
        """Place in line, from 1."""

    @property
    def eta_s(self) -> tuple[float, float] | None:
        """Between this and that many seconds."""

    @property
    def waits_for(self) -> str | None:
        """The kind of thing it waits for."""

    @property
    def behind(self) -> str | None:
        """Whom it waits for."""


def waiting(outlook: Outlook) -> str:
    """One line such as `position 3, another model has to leave first (behind qwen3-32b), about 40-90 s`."""
    parts = []
    if outlook.position is not None:
        parts.append(f"position {outlook.position}")
    if outlook.waits_for is not None:
        behind = f" (behind {outlook.behind})" if outlook.behind else ""
        parts.append(_REASONS.get(outlook.waits_for, str(outlook.waits_for)) + behind)
    if outlook.eta_s is not None:
        parts.append(f"starts in {span(outlook.eta_s)}")
    return ", ".join(parts) or "waiting"


def span(eta_s: tuple[float, float]) -> str:
    """`about 4 s`, or `40-90 s`."""
    low, high = round(eta_s[0]), round(eta_s[1])
    return f"about {high} s" if high - low <= max(1, high // 10) else f"{low}-{high} s"
