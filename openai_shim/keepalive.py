"""Signs of life: what a waiting client is told, and when."""

import math
from dataclasses import dataclass

from coordinator import forecast, lease
from runtimes import base, event_stream


@dataclass(slots=True)
class Cadence:
    """When the next sign of life is due: at once on a change, else every `keepalive_s`."""

    keepalive_s: float
    look_s: float
    _said: tuple[object, ...] | None = None
    _said_at: float = -math.inf

    def due(self, gist: tuple[object, ...], now: float, heard_at: float) -> bool:
        """Whether to say something now; `heard_at` is when the client last got anything."""
        changed = gist != self._said
        if not changed and now - max(self._said_at, heard_at) < self.keepalive_s:
            return False
        self._said, self._said_at = gist, now
        return True

    def next_look_s(self, position: int | None) -> float:
        """Far back in the line, places change all the time and mean little: look less often."""
        return min(self.keepalive_s, self.look_s * (1 + (position or 0) / 50))


@dataclass(frozen=True, slots=True)
class Sign:
    """What to say, and what of it counts as a change."""

    text: str
    gist: tuple[object, ...]
    position: int | None = None


def waiting(held: lease.Lease) -> Sign:
    """Where a request stands that has no slot yet."""
    outlook, progress = held.outlook(), held.progress()
    if progress is not None and (outlook is None or outlook.waits_for == "load"):
        return _loading(progress, outlook)
    if outlook is None:
        return Sign("queued", ("queued",))
    said = f"queued position={outlook.position}{_eta(outlook)} waits_for={outlook.waits_for}"
    if outlook.behind:
        said += f" behind={_word(outlook.behind)}"
    return Sign(said, ("queued", outlook.position, outlook.waits_for), outlook.position)


def _loading(progress: base.LoadProgress, outlook: forecast.Outlook | None) -> Sign:
    said = f"loading phase={_word(progress.phase)}"
    tenths = None
    if progress.fraction is not None:
        said += f" progress={progress.fraction:.0%}"
        tenths = int(progress.fraction * 10)
    if outlook is not None:
        said += _eta(outlook)
    return Sign(said, ("loading", progress.phase, tenths))


def running(told: event_stream.Telemetry) -> Sign:
    """What a silent engine is known to be doing."""
    if told.pieces or told.prefill is None:
        return Sign("working", ("working",))
    done, total = told.prefill
    return Sign(f"prefill {done}/{total}", ("prefill", done * 10 // max(1, total)))


def _eta(outlook: forecast.Outlook) -> str:
    # The late end of the estimate: a promise that is kept is worth more than a short one.
    return f" eta={math.ceil(outlook.eta_s[1])}s" if outlook.eta_s is not None else ""


def _word(text: str) -> str:
    """One word of printable text: whatever is in it, it cannot end the comment."""
    return "_".join("".join(c if c.isprintable() else " " for c in text).split())[:80]
