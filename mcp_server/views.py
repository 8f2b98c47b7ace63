"""The coordinator's picture, cut down to what an agent needs to decide."""

from collections.abc import Callable, Mapping, Sequence

from coordinator import status
from mcp_server import results, words

ToolServers = Callable[[], Mapping[str, int] | None]
"""How many tool servers and tools the broker knows; None without a broker."""

QUEUE_SHOWN = 10
LOG_LINES = 20


def gateway(
    picture: status.Snapshot, tool_servers: Mapping[str, int] | None, problems: Sequence[str]
) -> results.Status:
    """`gateway_status`."""
    found = list(problems)
    if picture.storage_problem is not None:
        found.append(f"storage: {picture.storage_problem}")
    return results.Status(
        summary=_summary(picture, found),
        ready=picture.ready,
        paused=picture.paused,
        running=len(picture.running),
        queued=len(picture.queue),
        runtimes=[runtime(line) for line in picture.runtimes],
        queue=[waiting(line) for line in picture.queue[:QUEUE_SHOWN]],
        pool_gib=results.gib(picture.pool_bytes),
        held_gib=results.gib(picture.held_bytes),
        tool_servers=None if tool_servers is None else dict(tool_servers),
        problems=found,
    )


def _summary(picture: status.Snapshot, problems: Sequence[str]) -> str:
    if picture.stopping:
        return "stopping; submitted jobs are kept for the next start"
    if not picture.ready:
        return "starting: looking for engines of an earlier run"
    loaded = [line.name for line in picture.runtimes if line.state in ("ready", "draining")]
    held = "paused" if picture.paused else "ready"
    parts = [
        f"{held}: {len(picture.running)} running, {len(picture.queue)} queued",
        f"loaded: {', '.join(loaded) or 'nothing'}",
    ]
    if problems:
        parts.append(f"{len(problems)} problems")
    return "; ".join(parts)


def runtime(line: status.RuntimeLine) -> results.Runtime:
    """One row of the status."""
    return results.Runtime(
        name=line.name,
        state=line.state,
        running=line.running,
        queued=line.queued,
        slots=line.slots,
        loading=_loading(line),
        memory_gib=results.gib(line.footprint_bytes),
        retry_in_s=line.retry_in_s,
        last_error=_last_error(line),
    )


def _loading(line: status.RuntimeLine) -> str | None:
    if line.load_phase is None:
        return None
    done = "" if line.load_fraction is None else f" {line.load_fraction:.0%}"
    return f"{line.load_phase}{done}"


def _last_error(line: status.RuntimeLine) -> str | None:
    if line.last_error is None or not line.failures:
        return None
    return f"{line.last_error['class']}, exit code {line.last_error['exit_code']}"


def waiting(line: status.WorkLine) -> results.Waiting:
    """One row of the queue."""
    return results.Waiting(
        model=line.alias,
        position=line.position,
        eta_s=line.eta_s,
        waits_for=line.waits_for,
        priority=line.priority,
        waited_s=round(line.waited_s, 1),
    )


def models(picture: status.Snapshot) -> results.Models:
    """`list_runtime_models`."""
    return results.Models(models=[_model(line, picture) for line in picture.runtimes])


def _model(line: status.RuntimeLine, picture: status.Snapshot) -> results.Model:
    speed = line.usual_tokens_per_s
    return results.Model(
        model=line.aliases[0],
        also=list(line.aliases[1:]) or None,
        runtime=line.name,
        state=line.state,
        can=list(line.capabilities),
        context_tokens=line.context_tokens,
        memory_gib=results.gib(line.footprint_bytes),
        usual_load_s=None if line.usual_load_s is None else round(line.usual_load_s, 1),
        usual_tokens_per_s=None if speed is None else round(speed, 1),
        fits_now=fits_now(line, picture),
        queued=line.queued,
        notice=line.notice,
    )


def fits_now(line: status.RuntimeLine, picture: status.Snapshot) -> bool | None:
    """Whether it could be used without unloading anything; None where a size is unknown."""
    if line.state in ("ready", "draining"):
        return True
    others = [one for one in picture.runtimes if one.state != "stopped" and one is not line]
    if not others:
        return True
    sizes = [one.footprint_bytes for one in (line, *others)]
    known = [size for size in sizes if size is not None]
    if picture.pool_bytes is None or len(known) < len(sizes):
        return None
    return sum(known) <= picture.pool_bytes


def report(
    line: status.RuntimeLine, picture: status.Snapshot, log_tail: Sequence[str]
) -> results.RuntimeReport:
    """`runtime_status`."""
    queue = [waiting(one) for one in picture.queue if one.runtime == line.name]
    return results.RuntimeReport(
        name=line.name,
        engine=line.engine,
        state=line.state,
        summary=_runtime_summary(line, picture),
        running=line.running,
        slots=line.slots,
        queue=queue[:QUEUE_SHOWN],
        memory_gib=results.gib(line.footprint_bytes),
        failures=line.failures,
        retry_in_s=line.retry_in_s,
        last_error=_last_error(line),
        log_tail=list(log_tail)[-LOG_LINES:],
    )


def _runtime_summary(line: status.RuntimeLine, picture: status.Snapshot) -> str:
    said = [line.state, f"{line.running} of {line.slots} slots busy", f"{line.queued} queued"]
    loading = _loading(line)
    if loading is not None:
        said.append(loading)
    if line.draining_for is not None:
        said.append(f"leaving for {line.draining_for}")
    longest = max(
        (one.running_s or 0.0 for one in picture.running if one.runtime == line.name), default=0.0
    )
    if longest:
        said.append(f"longest answer has run {longest:.0f} s")
    if line.retry_in_s is not None:
        said.append(f"failed {line.failures} times, next try in {line.retry_in_s:.0f} s")
    return ", ".join(said)


def outlook(line: words.Outlook | None) -> str | None:
    """Why it waits, in words."""
    return None if line is None else words.waiting(line)
