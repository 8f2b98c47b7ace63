"""Which model to use: a pure ranking over what there is, with its reasons."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

ANSWER_TOKENS = 1024
"""Left free for the answer beside the prompt."""
UNKNOWN_LOAD_S = 60.0
"""A guess for a model that was never loaded here; only its order among others matters."""
UNKNOWN_RUN_S = 20.0
"""As long as a request takes where nothing was learned yet."""
FIRST_STATES = frozenset({"ready", "draining"})


class Candidate(Protocol):
    """One runtime, as the coordinator's snapshot shows it."""

    @property
    def name(self) -> str: ...
    @property
    def aliases(self) -> tuple[str, ...]: ...
    @property
    def state(self) -> str: ...
    @property
    def slots(self) -> int: ...
    @property
    def running(self) -> int: ...
    @property
    def queued(self) -> int: ...
    @property
    def context_tokens(self) -> int | None: ...
    @property
    def footprint_bytes(self) -> int | None: ...
    @property
    def pinned(self) -> bool: ...
    @property
    def notice(self) -> str | None: ...
    @property
    def usual_load_s(self) -> float | None: ...
    @property
    def retry_in_s(self) -> float | None: ...
    @property
    def capabilities(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Want:
    """What the caller needs."""

    prompt_tokens: int = 0
    needs: tuple[str, ...] = ("chat",)
    max_wait_s: float | None = None
    """Patience; None means: soon matters more than large."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A model that would do, and what choosing it costs."""

    runtime: Candidate
    wait_s: float
    unloads: tuple[str, ...]
    displaced: int
    """Requests that are being answered by what would have to leave."""


@dataclass(frozen=True, slots=True)
class Advice:
    """The best choice, the other ones in order, and why the rest would not do."""

    best: Choice | None
    others: tuple[Choice, ...]
    unfit: tuple[tuple[str, str], ...]


def recommend(runtimes: Sequence[Candidate], pool_bytes: int | None, want: Want) -> Advice:
    """Fit first, then within patience, then what disturbs nobody, then large or soon."""
    unfit = []
    choices = []
    for runtime in runtimes:
        reason = _unfit(runtime, want)
        if reason is not None:
            unfit.append((runtime.aliases[0], reason))
        else:
            choices.append(_choice(runtime, runtimes, pool_bytes))
    ranked = sorted(choices, key=lambda choice: _rank(choice, want))
    return Advice(ranked[0] if ranked else None, tuple(ranked[1:]), tuple(unfit))


def _unfit(runtime: Candidate, want: Want) -> str | None:
    missing = [need for need in want.needs if need not in runtime.capabilities]
    if missing:
        return f"cannot do {', '.join(missing)}"
    room = runtime.context_tokens
    wanted = want.prompt_tokens + ANSWER_TOKENS
    if room is not None and want.prompt_tokens and wanted > room:
        return f"has room for {room} tokens, {wanted} are wanted"
    if runtime.retry_in_s is not None:
        return f"failed to load and is not tried again for {runtime.retry_in_s:.0f} s"
    return None


def _choice(runtime: Candidate, runtimes: Sequence[Candidate], pool_bytes: int | None) -> Choice:
    leaving = _leaving(runtime, runtimes, pool_bytes)
    busy = [other for other in leaving if other.running]
    wait = UNKNOWN_RUN_S if busy else 0.0
    if runtime.state not in FIRST_STATES:
        wait += runtime.usual_load_s or UNKNOWN_LOAD_S
    if runtime.running >= runtime.slots or runtime.queued:
        wait += UNKNOWN_RUN_S * (1 + runtime.queued // max(1, runtime.slots))
    names = tuple(other.name for other in leaving)
    return Choice(runtime, wait, names, sum(other.running for other in leaving))


def _leaving(
    runtime: Candidate, runtimes: Sequence[Candidate], pool_bytes: int | None
) -> list[Candidate]:
    """What would have to leave for it, idle and small first; the coordinator decides for itself when it comes to it."""
    if runtime.state in FIRST_STATES or runtime.state == "starting":
        return []
    loaded = [other for other in runtimes if other.state != "stopped" and other is not runtime]
    if not loaded:
        return []
    sizes = [other.footprint_bytes for other in loaded]
    known = [size for size in sizes if size is not None]
    if pool_bytes is None or runtime.footprint_bytes is None or len(known) < len(sizes):
        return [other for other in loaded if not other.pinned]
    missing = runtime.footprint_bytes + sum(known) - pool_bytes
    leaving = []
    for other in sorted(loaded, key=lambda one: (one.running > 0, one.footprint_bytes or 0)):
        if missing <= 0:
            break
        if not other.pinned:
            leaving.append(other)
            missing -= other.footprint_bytes or 0
    return leaving


def _rank(choice: Choice, want: Want) -> tuple[object, ...]:
    runtime = choice.runtime
    size = runtime.footprint_bytes or 0
    toy = runtime.notice is not None
    if want.max_wait_s is None:
        return toy, choice.displaced > 0, choice.wait_s, -size, runtime.name
    late = choice.wait_s > want.max_wait_s
    # Whoever can wait wants the larger model; whoever cannot, the sooner one.
    second = (choice.wait_s, -size) if late else (-size, choice.wait_s)
    return toy, late, choice.displaced > 0, *second, runtime.name


def reasons(choice: Choice, want: Want) -> list[str]:
    """Why this one, and what it costs others."""
    runtime = choice.runtime
    said = [f"can do {', '.join(want.needs)}"]
    if want.prompt_tokens and runtime.context_tokens is not None:
        said.append(f"{want.prompt_tokens} prompt tokens fit its {runtime.context_tokens}")
    if runtime.state in FIRST_STATES:
        free = runtime.slots - runtime.running
        said.append("loaded, a slot is free" if free > 0 else "loaded, all slots busy")
    else:
        load = runtime.usual_load_s
        how_long = "never loaded here yet" if load is None else f"usually loads in {load:.0f} s"
        said.append(f"not loaded, {how_long}")
    if choice.unloads:
        cost = f"would unload {', '.join(choice.unloads)}"
        if choice.displaced:
            cost += f", after {choice.displaced} running requests there end"
        said.append(cost)
    if want.max_wait_s is not None and choice.wait_s > want.max_wait_s:
        said.append(f"about {choice.wait_s:.0f} s, longer than the {want.max_wait_s:.0f} s wanted")
    if runtime.notice is not None:
        said.append(runtime.notice)
    return said
