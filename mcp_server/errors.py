"""Turns what goes wrong below into words that a model can act on; nothing else here knows MCP errors.

Whatever the caller can do something about becomes a `ToolError`: its text reaches the model.
Anything else is a crash, whose text stays in the log.
"""

from collections.abc import Generator
from contextlib import contextmanager

from mcp.server.mcpserver.exceptions import ToolError

from coordinator import errors as coordinator_errors
from recipes import errors as recipe_errors
from runtimes import errors as runtime_errors

_NEXT: dict[str, str] = {
    "queue_full": "wait for a job to end, then submit again",
    "idempotency_conflict": "use another idempotency_key, or the same body",
    "not_found": "list_jobs shows yours",
    "model_not_found": "list_runtime_models shows all",
    "shutting_down": "try again in a few seconds; submitted jobs are kept",
    "storage_unavailable": "tell the user; retrying does not help until there is disk space",
}


@contextmanager
def told() -> Generator[None]:
    """Says what happened, its stable code, and what to do next."""
    try:
        yield
    except (
        coordinator_errors.CoordinatorError,
        runtime_errors.RuntimesError,
        recipe_errors.RecipeError,
    ) as error:
        raise ToolError(_words(error)) from error


def _words(error: Exception) -> str:
    code = getattr(error, "code", "failed")
    retry_after_s = getattr(error, "retry_after_s", None)
    when = "" if retry_after_s is None else f" Retry after {retry_after_s:.0f} s."
    advice = _NEXT.get(code)
    return f"{code}: {error}.{when}" + ("" if advice is None else f" Next: {advice}.")


def refuse(code: str, message: str) -> ToolError:
    """For what a tool itself refuses."""
    return ToolError(f"{code}: {message}")
