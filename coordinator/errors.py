"""What can go wrong between asking for a runtime and having it.

CoordinatorError
├── Refused                  not admitted; nothing was stored
│   ├── QueueFull            queue_full
│   ├── IdempotencyConflict  idempotency_conflict
│   └── ShuttingDown         shutting_down
├── Waited                   admitted, never ran
│   ├── QueueTimeout         queue_timeout
│   ├── RuntimeFailed        engine_load_failed
│   └── RuntimeRemoved       model_not_found
├── WorkCancelled            cancelled
├── RunTimeout               run_timeout
├── NoSuchWork               not_found
├── StorageUnavailable       storage_unavailable
├── OwnedElsewhere           owned_elsewhere (at start only)
├── OwnershipLost            ownership_lost (this process must end)
├── StateUnusable            state_unusable and its kinds (at start only): refusals.py
└── ChangeRefused            change_refused, key_taken: refusals.py
"""

from collections.abc import Sequence


class CoordinatorError(Exception):
    """Every error of this package; `code` is stable."""

    code = "coordinator_error"


class Refused(CoordinatorError):
    """Not admitted: nothing was stored, and asking again later is safe."""

    code = "refused"


class QueueFull(Refused):
    """As much is waiting as the configuration allows, in all or for this client."""

    code = "queue_full"

    def __init__(self, limit: int, retry_after_s: float | None, client: bool) -> None:
        whose = "from this client " if client else ""
        super().__init__(
            f"{limit} requests {whose}are waiting already; try again later or raise `queue.max_queue`"
        )
        self.limit, self.retry_after_s, self.client = limit, retry_after_s, client


class IdempotencyConflict(Refused):
    """The key was used before, with another body."""

    code = "idempotency_conflict"

    def __init__(self, key: str, work_id: str) -> None:
        super().__init__(
            f"idempotency key {key!r} belongs to {work_id}, which has another body; use a new key"
        )
        self.key, self.work_id = key, work_id


class ShuttingDown(Refused):
    """The gateway is stopping."""

    code = "shutting_down"

    def __init__(self, retry_after_s: float = 5.0) -> None:
        super().__init__("the gateway is stopping; try again when it is back")
        self.retry_after_s = retry_after_s


class Waited(CoordinatorError):
    """Admitted, and ended before it ran."""


class QueueTimeout(Waited):
    """The request's own waiting budget ran out."""

    code = "queue_timeout"

    def __init__(self, waited_s: float, behind: str) -> None:
        super().__init__(f"waited {waited_s:.0f} s {behind}; allow more with `max_queue_wait_s`")
        self.waited_s, self.behind = waited_s, behind


_NEVER_RAN = {
    "model_missing": "did not find its model",
    "not_installed": "could not be started, as its program is not there",
    "bad_flag": "could not be started as it is configured",
}


class RuntimeFailed(Waited):
    """The runtime did not come up, or is backing off after it did not."""

    code = "engine_load_failed"

    def __init__(
        self,
        runtime: str,
        failure_class: str,
        exit_code: int | None,
        log_tail: Sequence[str],
        retry_after_s: float,
    ) -> None:
        ended = (
            _NEVER_RAN.get(failure_class, "was not ready in time")
            if exit_code is None
            else f"ended with exit code {exit_code}"
        )
        super().__init__(f"{runtime} {ended} ({failure_class}); see `lmg logs --source {runtime}`")
        self.runtime, self.failure_class, self.exit_code = runtime, failure_class, exit_code
        self.log_tail, self.retry_after_s = tuple(log_tail), retry_after_s


class RuntimeRemoved(Waited):
    """The configuration was changed, and this runtime is not in it any more."""

    code = "model_not_found"

    def __init__(self, runtime: str) -> None:
        super().__init__(
            f"{runtime} was taken out of the configuration; `lmg models` shows what is left"
        )
        self.runtime = runtime


class WorkCancelled(CoordinatorError):
    """Somebody cancelled this work."""

    code = "cancelled"

    def __init__(self, work_id: str, by: str) -> None:
        super().__init__(f"{work_id} was cancelled by {by}")
        self.work_id, self.by = work_id, by


class RunTimeout(CoordinatorError):
    """The answer took longer than the request allows, counted from its grant."""

    code = "run_timeout"

    def __init__(self, limit_s: float) -> None:
        super().__init__(
            f"the answer took longer than {limit_s:.0f} s; allow more with `run_timeout_s`"
        )
        self.limit_s = limit_s


class NoSuchWork(CoordinatorError):
    """No such work item, or not this caller's: the two are answered alike."""

    code = "not_found"

    def __init__(self, work_id: str) -> None:
        super().__init__(f"no work item {work_id}; `list_jobs` or `lmg queue` show yours")
        self.work_id = work_id


class StorageUnavailable(CoordinatorError):
    """The database cannot be written now; running streams go on."""

    code = "storage_unavailable"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the queue cannot be written ({reason}); free disk space, nothing needs a restart"
        )
        self.reason = reason


class OwnedElsewhere(CoordinatorError):
    """Another gateway owns this state directory."""

    code = "owned_elsewhere"

    def __init__(self, state_dir: str, pid: int | None) -> None:
        who = "another gateway" if pid is None else f"the gateway with pid {pid}"
        super().__init__(
            f"{state_dir} belongs to {who}; stop it with `lmg down` or use another `state_dir`"
        )
        self.state_dir, self.pid = state_dir, pid


class OwnershipLost(CoordinatorError):
    """Another gateway took the state over while this one was stopped; it may write nothing any more."""

    code = "ownership_lost"

    def __init__(self, epoch: int) -> None:
        super().__init__(f"another gateway took over after epoch {epoch}; this one must end")
        self.epoch = epoch
