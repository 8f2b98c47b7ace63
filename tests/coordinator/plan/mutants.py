"""Breaks each rule of the decision in turn, in a copy, and sees whether the properties notice.

`python -m tests.coordinator.plan.mutants` prints one line a mutant and fails if any of them survives.
"""

import inspect
import sys
import time
from dataclasses import dataclass
from typing import Any

from coordinator import plan
from runtimes import state as runtime_state
from tests.coordinator.plan import machine

# The copy speaks the types of the original, so that the same world can carry its plans out.
TYPES = ("Waiting", "Resident", "Grant", "Start", "Drain", "Stop", "Keep", "Plan")
EXAMPLES = 8000
"""At most; a mutant dies at the first example that shows it."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One wrong line; `before` stands exactly once in the decision's source."""

    name: str
    before: str
    after: str


BLATANT = (
    Mutant("no ranking", "since * per_s - priority, item.seq", "0.0, -item.seq"),
    Mutant("no bar", "name in claims and _bars", "False and _bars"),
    Mutant(
        "no dwell",
        "return view.reached(resident.ready_since + max(view.knobs.min_residency_s, worth_s))",
        "return True",
    ),
    Mutant("no keep", "            if target is None or not _may_go", "            if False and not _may_go"),
    Mutant("starts without waiting for room", "max(held, peak) + need <= view.room", "True"),
    Mutant("starts before memory is back", "max(held, peak) + need", "peak + need"),
    Mutant("stops while busy", "if resident.leased > 0:", "if False:"),
    Mutant("one slot too many", "free = resident.slots -", "free = 1 + resident.slots -"),
    Mutant("one slot too few", "free = resident.slots -", "free = -1 + resident.slots -"),
    Mutant(
        "overtaking by lower priority",
        "ahead[2].priority > behind[2].priority:",
        "False:",
    ),
    Mutant(
        "max_wait never reached",
        "view.reached(ahead[2].enqueued_at + view.knobs.max_wait_s)",
        "False",
    ),
    Mutant("never looks again", "min((at for at in view.wakes if at > now), default=None)", "None"),
)  # fmt: skip
"""One a rule and more: tried every day."""

SUBTLE = (
    Mutant("no priorities", "since * per_s - priority, item.seq", "since * per_s, item.seq"),
    Mutant("no aging", "per_s = 1.0 / knobs.aging_s", "per_s = 0.0 * knobs.aging_s"),
    Mutant("last in, first out", "heapq.nsmallest(free", "heapq.nlargest(free"),
    Mutant("grants while draining", "    return resident.state is _State.READY and not resident.leaving", "    return resident.state in (_State.READY, _State.DRAINING)"),
    Mutant("grants on what was told to go", "resident.state is _State.READY and not resident.leaving", "resident.state is _State.READY"),
    Mutant("keeps what was told to go", "resident.state is _State.DRAINING and not resident.leaving", "resident.state is _State.DRAINING"),
    Mutant("forgets the memory of what was told to go", "runtime_state.holds_memory(r.state)}", "runtime_state.holds_memory(r.state) and not r.leaving}"),
    Mutant("does not ask again after acting", "        return Plan(actions, now)", "        return Plan(actions)"),
    Mutant("grants while paused", "() if paused else _join", "() if False else _join"),
    Mutant("starts while paused", "() if paused else _targets", "() if False else _targets"),
    Mutant("no back-off", "resident.retry_at is not None and not", "False and not"),
    Mutant("worst-ranked target first", "sorted(wanted)]", "sorted(wanted, reverse=True)]"),
    Mutant(
        "bars what ranks ahead",
        "(behind is not None and behind < ahead) or",
        "",
    ),
    Mutant(
        "max_wait forgotten by the clock",
        "view.reached(ahead[2].enqueued_at + view.knobs.max_wait_s)",
        "view.now >= ahead[2].enqueued_at + view.knobs.max_wait_s",
    ),
    Mutant("strict FIFO is not strict", "resident.ready_since is None or view.knobs.max_wait_s <= 0:", "resident.ready_since is None:"),
    Mutant(
        "loads that are waited for are cut short",
        "return resident.name not in view.heads",
        "return True",
    ),
    Mutant(
        "unwanted loads go on in the way",
        "return resident.name not in view.heads",
        "False",
    ),
    Mutant("takes the room of those ahead", "max(held, peak) + need", "held + need"),
    Mutant(
        "starts beside others without counting",
        "held, peak = held + need, peak + need",
        "pass",
    ),
    Mutant("a load need not be worth it", "max(view.knobs.min_residency_s, worth_s)", "view.knobs.min_residency_s"),
    Mutant("unknown footprint is nothing", "resident.footprint_bytes is None:\n            return self.room", "resident.footprint_bytes is None:\n            return 0"),
    Mutant("exclusive is not", "resident.exclusive or ", ""),
    Mutant("unloads what is pinned", "if not view.by_name[name].pinned]", "]"),
    Mutant("what cannot fit holds everybody up", "if victims is None:  # only what is pinned is in its way\n            continue", "if victims is None:\n            break"),
    Mutant("idle means nobody waits", "return resident.leased == 0 and ", "return "),
    Mutant("idle means nothing runs", "return resident.leased == 0 and resident.name not in self.heads", "return resident.leased == 0"),
    Mutant("never stops what has drained", 'yield Stop(name, "swap", target)', "return"),
    Mutant("keeps always", "            if target is None or not _may_go", "            if True or not _may_go"),
    Mutant("unloads at once", "if view.reached(max(used", "if view.now > 0 or view.reached(max(used"),
    Mutant("never unloads", "if view.reached(max(used", "if False and view.reached(max(used"),
    Mutant("unloads what is pinned when idle", "if resident.pinned or not _admits", "if not _admits"),
    Mutant("looks again too late", "min((at", "max((at"),
)  # fmt: skip
"""Tried with the full count of examples."""

MUTANTS = BLATANT + SUBTLE


def broken(mutant: Mutant) -> type[machine.Traffic]:
    """The machine, with a decision that has this one mistake."""
    source = inspect.getsource(plan)
    found = source.count(mutant.before)
    if found != 1:
        raise LookupError(f"{mutant.name}: its line stands {found} times in the source, not once")
    names: dict[str, Any] = {"__name__": "mutated_plan"}  # whatever a module may hold
    exec(compile(source.replace(mutant.before, mutant.after), "plan.py, mutated", "exec"), names)  # noqa: S102 - our own source, one line changed
    names.update({name: getattr(plan, name) for name in TYPES})
    return type("Broken", (machine.Traffic,), {"decide": staticmethod(names["decide"])})


def killed_by(mutant: Mutant, examples: int = EXAMPLES) -> str | None:
    """What gave the mutant away, or None if it survived."""
    try:
        machine.explore(broken(mutant), examples, shrink=False)
    except (AssertionError, runtime_state.IllegalTransition) as error:
        return str(error).splitlines()[0]
    return None


def main() -> int:
    """Try them all."""
    survivors = 0
    for mutant in MUTANTS:
        began = time.monotonic()
        cause = killed_by(mutant)
        survivors += cause is None
        print(
            f"{time.monotonic() - began:6.1f} s  {mutant.name:45} {cause or 'SURVIVED'}", flush=True
        )
    print(f"{len(MUTANTS) - survivors} of {len(MUTANTS)} killed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
