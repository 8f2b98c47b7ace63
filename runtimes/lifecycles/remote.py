"""A server that is not ours to start or stop: another gateway, or a cloud endpoint."""

import ipaddress
from collections.abc import Callable
from urllib.parse import urlsplit

import anyio

from runtimes import base, health, launch
from runtimes.settings import EngineRecipe, RuntimeSettings

LOOK_TIMEOUT_S = 10.0


class RemoteLifecycle:
    """`base.Lifecycle` for endpoints that are simply there; they hold no memory of this machine."""

    def __init__(
        self, spec: base.RuntimeSpec, settings: RuntimeSettings, recipe: EngineRecipe
    ) -> None:
        self._spec, self._settings, self._recipe = spec, settings, recipe
        self._last = ""

    async def look(self, known: base.ProcessRecord | None) -> base.Running | None:
        """Nothing of ours can be left there."""
        return None

    async def start(self, report: Callable[[base.LoadProgress], None]) -> base.Running:
        """See that it answers; refuses a model server of this machine that nobody accounts for."""
        url = self._settings.url or self._recipe.default_url or ""
        if on_this_machine(url) and not self._settings.allow_unmanaged:
            raise self._failed(
                base.FailureClass.BAD_FLAG,
                f"{url} is a server on this machine whose memory nobody counts; manage it with its "
                "engine's recipe, or set `allow_unmanaged: true`",
            )
        running = base.Running(url, None, engine_headers(self._settings, self._recipe))
        seen = await health.look(
            url, running.headers, self._recipe.ready, self._listed(), LOOK_TIMEOUT_S
        )
        if not seen.ready:
            found = (
                base.FailureClass.MODEL_MISSING
                if seen.wrong_model
                else base.FailureClass.UNRESPONSIVE
            )
            raise self._failed(found, f"{url}: {seen.reason}")
        return running

    async def stop(self) -> None:
        """There is nothing to stop."""

    async def died(self) -> base.Exit:
        """It has no life that we could watch; a request that fails says so itself."""
        await anyio.sleep_forever()
        raise AssertionError("sleep_forever ends by cancellation only")

    def log_tail(self, lines: int = 20) -> tuple[str, ...]:
        """Its log is not here; what is known is the last problem."""
        return (self._last,) if self._last and lines else ()

    def record(self) -> base.ProcessRecord | None:
        """No process of ours."""
        return None

    def memory_used(self) -> int | None:
        """None of this machine's."""
        return 0

    def _listed(self) -> str | None:
        return None if self._recipe.ready.models_path is None else self._spec.upstream_model

    def _failed(self, found: base.FailureClass, problem: str) -> base.EngineFailed:
        self._last = problem
        name = self._spec.name
        return base.EngineFailed(name, base.Exit(None, found, (problem,)), f"{name}: {problem}")


def engine_headers(settings: RuntimeSettings, recipe: EngineRecipe) -> dict[str, str]:
    """What the engine asks for on each request; what needs a key is left out without one."""
    key = settings.api_key.get_secret_value() if settings.api_key else None
    wanted = {"authorization": "Bearer {key}"} if key and not recipe.headers else recipe.headers
    return {
        name: launch.fill(value, {"key": key or ""})
        for name, value in wanted.items()
        if key is not None or "{key}" not in value
    }


def on_this_machine(url: str) -> bool:
    """Whether a URL names this machine's loopback."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
