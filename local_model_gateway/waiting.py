"""What somebody who waits for a model is told, in one line: their place, who goes first, how far a load is."""

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from local_model_gateway import client, errors, phrases, terminal

Picture = Mapping[str, Any]  # Any: JSON of /status

LOOK_S = 1.0
FIRST_LOOK_S = 0.3
"""What is answered sooner costs the gateway no look."""
RESTED = 20
"""Between two looks passes so many times what the last one took: a busy gateway is asked less often."""
LEAVE = ("   (Ctrl-C leaves the queue)", "   (Ctrl-C leaves)", "")
"""The longest that fits."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a request stands; None is what nobody told."""

    waits_for: str | None = None
    """As the gateway calls it: slot, swap, load, whole_gpu, paused, runtime_failed; or running."""
    position: int | None = None
    total: int | None = None
    behind: str | None = None
    ahead: int = 0
    """Requests of `behind` that run, or come before this one."""
    eta_s: float | None = None
    """The late end: a promise that is kept is worth more than a short one."""
    phase: str | None = None
    fraction: float | None = None
    footprint_bytes: int | None = None
    usual_load_s: float | None = None
    failure: str | None = None
    retry_in_s: float | None = None
    told_at: float = 0.0


@dataclass(slots=True)
class Wait:
    """One request that waits: what was heard of it, from its stream and from looks at the whole."""

    model: str
    work_id: str | None = None
    clock: Callable[[], float] = time.monotonic
    thinking: bool = False
    """Whether the model reasons, which nobody reads here."""
    _said: Standing | None = None
    _seen: Picture | None = None
    _seen_at: float = 0.0
    _loading_since: float | None = None

    def hear(self, comment: bytes) -> None:
        """The stream said where this stands."""
        self._said = of_comment(comment, self.clock())

    def see(self, picture: Picture) -> None:
        """Somebody looked at the whole."""
        self._seen, self._seen_at = picture, self.clock()

    def line(self, room: int) -> str:
        """What to show now, in so many cells."""
        if self.thinking:
            return f"{self.model} is thinking"
        now, standing = self.clock(), self._standing()
        if standing.waits_for != "load":
            self._loading_since = None
        match standing.waits_for:
            case None:
                return f"asking {self.model}"
            case "running":
                return f"{self.model} {standing.phase or 'is working'}"
            case "load":
                self._loading_since = self._loading_since or now
                return loading(self.model, standing, now, now - self._loading_since, room)
            case _:
                return queued(self.model, standing, now, room)

    def _standing(self) -> Standing:
        said = self._said or Standing()
        if said.waits_for == "running" or self._seen is None:
            return said
        # A look tells more than a comment, and is as fresh; comments are for gateways that grant none.
        return of_picture(self._seen, self.work_id, self.model, self._seen_at) or said


def of_comment(comment: bytes, at: float) -> Standing:
    """`queued position=3 eta=42s waits_for=swap behind=x`, `loading phase=weights progress=40%`, `prefill 1/9`."""
    kind, *words = comment.lstrip(b":").decode(errors="replace").split() or [""]
    told = dict(word.split("=", 1) for word in words if "=" in word)
    eta_s, share = _number(told.get("eta"), "s"), _number(told.get("progress"), "%")
    match kind:
        case "queued":
            place = _number(told.get("position"))
            return Standing(
                told.get("waits_for", "slot"),
                None if place is None else int(place),
                behind=told.get("behind"),
                eta_s=eta_s,
                told_at=at,
            )
        case "loading":
            fraction = None if share is None else share / 100
            return Standing(
                "load", eta_s=eta_s, phase=told.get("phase"), fraction=fraction, told_at=at
            )
        case "prefill":
            return Standing(
                "running", phase=f"reads the prompt, {' '.join(words).replace('/', ' of ')} tokens"
            )
        case _:
            return Standing("running")


def of_picture(picture: Picture, work_id: str | None, model: str, at: float) -> Standing | None:
    """The same of /status; without an id, of a load by hand, which has no stream that would name it."""
    if work_id is not None and any(item["id"] == work_id for item in picture["running"]):
        return Standing("running")
    queue: Sequence[Picture] = picture["queue"]
    mine = next((item for item in queue if _is_it(item, work_id, model)), None)
    if mine is None:
        return None
    runtimes: Mapping[str, Picture] = {one["name"]: one for one in picture["runtimes"]}
    own = runtimes.get(mine["runtime"], {})
    waits_for, behind = mine["waits_for"], mine["behind"]
    if own.get("state") == "starting":
        waits_for = "load"
    elif waits_for == "slot":
        behind = mine["runtime"]
    return Standing(
        waits_for or "slot",
        mine["position"],
        _total(queue),
        behind,
        _ahead(picture, mine, behind),
        mine["eta_s"][1] if mine["eta_s"] else None,
        own.get("load_phase"),
        own.get("load_fraction"),
        own.get("footprint_bytes"),
        own.get("usual_load_s"),
        (own.get("last_error") or {}).get("class"),
        own.get("retry_in_s"),
        at,
    )


def _is_it(item: Picture, work_id: str | None, model: str) -> bool:
    if work_id is not None:
        return bool(item["id"] == work_id)
    return item["surface"] == "admin" and model in {item["alias"], item["runtime"]}


def _total(queue: Sequence[Picture]) -> int | None:
    """How many wait; unknown where several lines stand side by side, as remote endpoints have their own."""
    places = {item["position"] for item in queue}
    return len(queue) if len(places) == len(queue) else None


def _ahead(picture: Picture, mine: Picture, behind: str | None) -> int:
    before = [
        item
        for item in picture["queue"]
        if item["runtime"] == behind and (item["position"] or 0) < (mine["position"] or 0)
    ]
    running = [item for item in picture["running"] if item["runtime"] == behind]
    return len(before) + len(running)


def _number(word: str | None, unit: str = "") -> float | None:
    try:
        return float((word or "").removesuffix(unit))
    except ValueError:
        return None


# The words


def queued(model: str, standing: Standing, now: float, room: int) -> str:
    """`queue 3 of 5 · minimax-m2.7 finishes 2 requests first · starts in about 1:50   (Ctrl-C …)`."""
    place = "queue"
    if standing.position is not None:
        place += f" {standing.position}" + (f" of {standing.total}" if standing.total else "")
    parts = [place, f" · {_reason(model, standing, now)}"]
    if standing.eta_s is not None:
        left = _left(standing, now, standing.eta_s)
        parts.append(f" · starts in about {left}" if left else " · starts any moment")
    # What matters least goes first: the hint, then the reason; the time stays as long as it can.
    tries = [*([*parts, hint] for hint in LEAVE), [place, *parts[2:]]]
    return _fitting(room, ["".join(less) for less in tries], place)


def _fitting(room: int, lines: Sequence[str], least: str) -> str:
    return next((line for line in lines if terminal.cells(line) <= room), least)


def _reason(model: str, standing: Standing, now: float) -> str:
    if standing.waits_for == "paused":
        return "the queue is paused; `lmg queue resume` lets it go on"
    if standing.waits_for == "runtime_failed":
        why = f" ({standing.failure})" if standing.failure else ""
        again = standing.retry_in_s
        soon = "" if again is None else f", next try in {_left(standing, now, again) or 'a moment'}"
        return f"{model} did not load{why}{soon}"
    name = standing.behind or model
    if standing.ahead:
        return f"{name} finishes {phrases.count(standing.ahead, 'request')} first"
    return f"{name} makes room first" if standing.behind else f"waits for {model}"


def loading(model: str, standing: Standing, now: float, so_far_s: float, room: int) -> str:
    """`loading gemma4:12b   5.1 of 8.1 GiB   4 s left`; without an amount, the phase and the usual time."""
    parts = [f"loading {model}"]
    whole = standing.footprint_bytes
    if standing.fraction is not None and whole:
        parts.append(phrases.amount(standing.fraction * whole, whole))
    elif standing.fraction is not None:
        parts.append(f"{standing.fraction:.0%}")
    else:
        parts.append(
            f"{standing.phase}, {phrases.clock(so_far_s)}"
            if standing.phase
            else phrases.clock(so_far_s)
        )
    if standing.eta_s is not None:
        left = _left(standing, now, standing.eta_s)
        parts.append(f"{left} left" if left else "almost there")
    elif standing.usual_load_s is not None:
        parts.append(f"usually {phrases.soon(standing.usual_load_s)}")
    return _fitting(room, ["   ".join(parts), "   ".join([parts[0], *parts[2:]])], parts[0])


def _left(standing: Standing, now: float, seconds: float) -> str:
    """What is left of a time that was told a moment ago; nothing, where it is over."""
    rest = seconds - (now - standing.told_at)
    return phrases.soon(rest) if rest >= 1 else ""


# The watching


@contextlib.contextmanager
def shown(wait: Wait, gateway: client.Client, out: terminal.Terminal) -> Generator[None]:
    """While inside, and until something is said, the line turns; nobody watching, nothing is asked."""
    if not out.live:
        yield
        return
    out.watch(wait.line)
    lookout = _Lookout(wait, gateway, out)
    lookout.start()
    try:
        yield
    finally:
        lookout.end()
        out.end_progress()


@dataclass(slots=True)
class _Lookout:
    """The thread that looks at /status now and then; what it cannot see stays as it was."""

    wait: Wait
    gateway: client.Client
    out: terminal.Terminal
    _over: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def end(self) -> None:
        self._over.set()

    def _run(self) -> None:
        pause_s = FIRST_LOOK_S
        while not self._over.wait(pause_s) and self.out.watched:
            began = time.monotonic()
            with contextlib.suppress(errors.GatewayError):
                self.wait.see(self.gateway.get("/status", timeout_s=5))
            pause_s = max(LOOK_S, RESTED * (time.monotonic() - began))
