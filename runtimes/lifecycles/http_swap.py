"""Engines whose server stays up while models come and go: loaded and unloaded over HTTP."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import anyio
import httpx2
from anyio import to_thread

from runtimes import base, health, launch, process_tree, race
from runtimes.lifecycles import remote
from runtimes.settings import Call, EngineRecipe, Loaded, RuntimeSettings

POLL_S = 0.25
REQUEST_TIMEOUT_S = 10.0
ANY_NAME = ""

Report = Callable[[base.LoadProgress], None]


class Refused(Exception):
    """The server answered, and the answer is no."""


@dataclass(frozen=True, slots=True)
class Row:
    """One loaded model, as the server lists it."""

    name: str
    instance: str
    size_bytes: int | None


class HttpSwapLifecycle:
    """`base.Lifecycle` by the `swap:` block of a recipe."""

    def __init__(
        self,
        spec: base.RuntimeSpec,
        settings: RuntimeSettings,
        recipe: EngineRecipe,
        measure: Callable[[Iterable[int]], int | None] = process_tree.resident_bytes,
    ) -> None:
        if recipe.swap is None:
            raise TypeError(f"the recipe of {spec.engine} has no swap block")
        self._spec, self._recipe, self._swap = spec, recipe, recipe.swap
        self._url = (settings.url or recipe.default_url or "").rstrip("/")
        self._headers = remote.engine_headers(settings, recipe)
        self._measure = measure
        self._used: int | None = None
        self._notes: list[str] = []
        self._instance: str | None = None
        self._up = False

    async def look(self, known: base.ProcessRecord | None) -> base.Running | None:
        """Adopt the model if the server still has it loaded."""
        if self._swap.loaded is None:
            # It cannot be asked, and memory that nobody counts is worse than a load too many.
            await self._unload(self._spec.upstream_model)
            return None
        rows = await self._rows()
        if not any(self._is_ours(row) for row in rows or []):
            return None
        await self._sample(rows or [])
        self._up = True
        return self._running()

    async def start(self, report: Report) -> base.Running:
        """Ask for the load and wait until the server lists the model."""
        seen = await health.look(
            self._url, self._headers, self._recipe.ready, None, REQUEST_TIMEOUT_S
        )
        if not seen.ready:
            raise self._failed(
                base.FailureClass.UNRESPONSIVE,
                f"no {self._spec.engine} server is ready at {self._url} ({seen.reason}); start it first",
            )
        try:
            # Some servers would load a second copy, others would refuse.
            if not await self._listed():
                await self._load(report)
            await self._wait_loaded()
        except (httpx2.HTTPError, TimeoutError) as error:
            await self.stop()
            said = f"the load broke off ({type(error).__name__})"
            raise self._failed(base.FailureClass.LOAD_STALLED, said) from None
        except Refused as error:
            await self.stop()
            raise self._failed(classify(str(error)), str(error)) from None
        except anyio.get_cancelled_exc_class():
            # The server goes on loading when its client leaves, so it has to be told.
            self._up = True
            with anyio.CancelScope(shield=True):
                await self.stop()
            raise
        self._up = True
        return self._running()

    async def stop(self) -> None:
        """Unload, and wait until the server no longer lists it."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(self._spec.stop_timeout_s):
            rows = await self._rows()
            for row in rows or []:
                if self._is_ours(row):
                    await self._unload(row.instance)
            if rows is None and self._swap.loaded is None and self._up:
                await self._unload(self._instance or self._spec.upstream_model)
            await self._until_gone()
        self._up, self._used, self._instance = False, None, None

    async def died(self) -> base.Exit:
        """Wait until the server is gone or has dropped the model by itself."""
        found = await race.first(self._dropped)
        self._up, self._used = False, None
        return base.Exit(None, found, self.log_tail())

    def log_tail(self, lines: int = 20) -> tuple[str, ...]:
        """The server's log is not ours; these are the last problems we had with it."""
        return tuple(self._notes)[-lines:] if lines > 0 else ()

    def record(self) -> base.ProcessRecord | None:
        """Not our process."""
        return None

    def memory_used(self) -> int | None:
        """What the server says that the model holds, else what its process does."""
        return self._used

    def _running(self) -> base.Running:
        return base.Running(self._url, None, self._headers)

    # ---- the three calls ------------------------------------------------------------------------

    async def _load(self, report: Report) -> None:
        async with self._client(None) as http:
            with anyio.fail_after(self._spec.load_timeout_s) as deadline:
                report(base.LoadProgress("load"))
                async with http.stream(
                    self._swap.load.method,
                    self._swap.load.path,
                    json=self._filled(self._swap.load, ""),
                ) as answer:
                    if (
                        answer.status_code >= 400
                        and answer.status_code not in self._swap.load.tolerate
                    ):
                        raise Refused(_reason(answer.status_code, await answer.aread()))
                    async for line in answer.aiter_lines():
                        # Progress, so the patience starts anew.
                        deadline.deadline = anyio.current_time() + self._spec.load_timeout_s
                        self._read_load_line(line, report)

    def _read_load_line(self, line: str, report: Report) -> None:
        try:
            said = json.loads(line.removeprefix("data:").strip() or "null")
        except ValueError:
            return
        if not isinstance(said, dict):
            return
        if said.get("error"):
            raise Refused(str(said["error"])[:500])
        self._instance = said.get("instance_id") or self._instance
        done, total = said.get("module"), said.get("modules")
        if isinstance(done, int) and isinstance(total, int) and total > 0:
            report(base.LoadProgress("weights", min(1.0, done / total)))

    async def _unload(self, instance: str) -> None:
        call = self._swap.unload
        try:
            async with self._client(self._spec.stop_timeout_s) as http:
                answer = await http.request(
                    call.method, call.path, json=self._filled(call, instance)
                )
        except httpx2.HTTPError as error:
            self._notes.append(f"unload: {type(error).__name__}")
            return
        if answer.status_code >= 400 and answer.status_code not in call.tolerate:
            self._notes.append(f"unload: {_reason(answer.status_code, answer.content)}")

    async def _rows(self) -> list[Row] | None:
        """What is loaded; None when the server does not say."""
        loaded = self._swap.loaded
        if loaded is None:
            return None
        try:
            async with self._client(REQUEST_TIMEOUT_S) as http:
                name = quote(self._spec.upstream_model, safe="")
                answer = await http.get(launch.fill(loaded.path, {"model": name}))
                said = answer.json() if answer.status_code == 200 else None
        except (httpx2.HTTPError, ValueError):
            return None
        return rows(said, loaded) if answer.status_code < 500 else None

    # ---- waiting --------------------------------------------------------------------------------

    async def _wait_loaded(self) -> None:
        if self._swap.loaded is None:
            return
        with anyio.fail_after(self._spec.load_timeout_s):
            await race.until(self._listed, POLL_S)
        await self._sample(await self._rows() or [])

    async def _listed(self) -> bool:
        return any(self._is_ours(row) for row in await self._rows() or [])

    async def _until_gone(self) -> None:
        async def gone() -> bool:
            return not await self._listed()

        await race.until(gone, POLL_S)

    async def _dropped(self) -> base.FailureClass:
        strikes = 0
        while strikes < self._recipe.health_strikes:
            await anyio.sleep(self._recipe.health_every)
            seen = await health.look(
                self._url, self._headers, self._recipe.ready, None, self._recipe.health_timeout
            )
            strikes = 0 if seen.ready else strikes + 1
            found = await self._rows()
            if found is not None and not any(self._is_ours(row) for row in found):
                self._notes.append(f"the server no longer has {self._spec.upstream_model} loaded")
                return base.FailureClass.UNKNOWN
            await self._sample(found or [])
        self._notes.append(f"the server at {self._url} does not answer")
        return base.FailureClass.UNRESPONSIVE

    async def _sample(self, found: list[Row]) -> None:
        sizes = [row.size_bytes for row in found if self._is_ours(row)]
        if sizes and sizes[0]:
            self._used = sizes[0]
        elif remote.on_this_machine(self._url) and (port := urlsplit(self._url).port):
            pids = await to_thread.run_sync(process_tree.owners, port)
            self._used = await to_thread.run_sync(self._measure, pids) or self._used

    # ---- shapes ---------------------------------------------------------------------------------

    def _is_ours(self, row: Row) -> bool:
        return row.name == ANY_NAME or self._same_name(row.name, self._spec.upstream_model)

    def _same_name(self, listed: str, ours: str) -> bool:
        return listed == ours

    def _filled(self, call: Call, instance: str) -> Any:  # Any: a JSON body
        values = {
            "model": self._spec.upstream_model,
            "instance": instance or self._instance or "",
            "context": str(self._spec.context_tokens or ""),
            "slots": str(self._spec.max_concurrency),
        }
        return _fill_json(call.json_body, values)

    def _client(self, timeout_s: float | None) -> httpx2.AsyncClient:
        return health.client(self._url, self._headers, timeout_s)

    def _failed(self, found: base.FailureClass, problem: str) -> base.EngineFailed:
        name = self._spec.name
        self._notes.append(problem)
        message = f"{name} did not load: {problem}"
        return base.EngineFailed(name, base.Exit(None, found, self.log_tail()), message)


class OllamaLifecycle(HttpSwapLifecycle):
    """The same, for a server that writes `:latest` behind names without a tag."""

    def _same_name(self, listed: str, ours: str) -> bool:
        return _tagged(listed) == _tagged(ours)


def _tagged(name: str) -> str:
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def rows(said: object, loaded: Loaded) -> list[Row]:
    """The loaded models in an engine's own answer."""
    listed = health.dig(said, loaded.rows) if loaded.rows else said
    found = []
    for entry in listed if isinstance(listed, list) else [listed]:
        name = health.dig(entry, loaded.id) if loaded.id else ANY_NAME
        if entry is None or not isinstance(name, str) or name in loaded.absent:
            continue
        if loaded.only_if is not None and not _holds(entry, loaded.only_if):
            continue
        instance = health.dig(entry, loaded.instance) if loaded.instance else name
        size = health.dig(entry, loaded.size) if loaded.size else None
        found.append(
            Row(
                name.removeprefix(loaded.prefix),
                str(instance),
                size if isinstance(size, int) else None,
            )
        )
    return found


def _holds(entry: object, condition: str) -> bool:
    path, _, word = condition.partition("=")
    found = health.dig(entry, path)
    return str(found) == word if word else bool(found)


def classify(problem: str) -> base.FailureClass:
    """What a refusal means, as far as its words tell."""
    low = problem.lower()
    if "memory" in low or "vram" in low:
        return base.FailureClass.OUT_OF_MEMORY
    if any(words in low for words in ("not found", "could not find", "no such", "does not exist")):
        return base.FailureClass.MODEL_MISSING
    return base.FailureClass.UNKNOWN


def _reason(status: int, body: bytes) -> str:
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    for path in ("error.message", "detail", "error", "message"):
        if text := health.dig(said, path):
            return f"{status}: {str(text)[:500]}"
    return f"{status}"


def _fill_json(value: object, values: dict[str, str]) -> object:
    """Fill the placeholders in a body; one that stands alone and is a number becomes a number."""
    if isinstance(value, dict):
        filled = {key: _fill_json(inner, values) for key, inner in value.items()}
        # What is not configured is left out, and the engine keeps its own default.
        return {key: inner for key, inner in filled.items() if inner != ""}
    if not isinstance(value, str):
        return value
    text = launch.fill(value, values)
    return int(text) if value in ("{context}", "{slots}") and text.isdigit() else text
