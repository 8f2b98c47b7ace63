"""The routes that run the gateway: health, readiness, status, and the few switches an operator has."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from coordinator import errors, loop, status
from local_model_gateway import answers
from runtimes import errors as runtimes_errors

Handler = Callable[[Request], Awaitable[Response]]
Picture = Callable[[], dict[str, Any]]
"""What /status shows beside the queue: the broker, the configuration, this process."""

_STATUS = {
    errors.NoSuchWork: 404,
    errors.QueueFull: 429,
    errors.QueueTimeout: 504,
    errors.RuntimeFailed: 503,
    errors.RuntimeRemoved: 404,
    errors.ShuttingDown: 503,
    errors.StorageUnavailable: 503,
    errors.WorkCancelled: 499,
}


def routes(
    coordinator: loop.Coordinator, picture: Picture, stop: Callable[[float], None]
) -> list[BaseRoute]:
    """`stop` takes the seconds that running work may still have."""
    switches = Switches(coordinator, stop)
    return [
        Route("/health", health, methods=["GET"]),
        Route("/ready", _ready(coordinator), methods=["GET"]),
        Route("/status", _status(coordinator, picture), methods=["GET"]),
        Route("/admin/runtimes/{name}/load", _switch(switches.load), methods=["POST"]),
        Route("/admin/runtimes/{name}/unload", _switch(switches.unload), methods=["POST"]),
        Route("/admin/runtimes/{name}/log", _switch(switches.log), methods=["GET"]),
        Route("/admin/queue/pause", _switch(switches.pause), methods=["POST"]),
        Route("/admin/queue/resume", _switch(switches.resume), methods=["POST"]),
        Route("/admin/work/{id}", _switch(switches.work), methods=["GET"]),
        Route("/admin/work/{id}/cancel", _switch(switches.cancel), methods=["POST"]),
        Route("/admin/work/{id}/priority", _switch(switches.priority), methods=["POST"]),
        Route("/admin/shutdown", _switch(switches.shutdown), methods=["POST"]),
    ]


async def health(_: Request) -> Response:
    """The process answers; whether it can work is `/ready`."""
    return JSONResponse({"status": "ok"})


def _ready(coordinator: loop.Coordinator) -> Handler:
    async def ready(_: Request) -> Response:
        if coordinator.ready:
            return JSONResponse({"status": "ready"})
        word = "stopping" if coordinator.stopping else "starting"
        return JSONResponse({"status": word}, 503, headers={"retry-after": "1"})

    return ready


def _status(coordinator: loop.Coordinator, picture: Picture) -> Handler:
    async def show(_: Request) -> Response:
        return JSONResponse({**status.as_json(coordinator.snapshot()), **picture()})

    return show


class Switches:
    """What an operator can do, from the command line or a page of ours."""

    def __init__(self, coordinator: loop.Coordinator, stop: Callable[[float], None]) -> None:
        self._coordinator, self._stop = coordinator, stop

    async def load(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        """Bring a runtime up through the queue; answers when it is ready. Who hangs up leaves the queue."""
        name = self._runtime(request)
        keep_s = _number(body, "keep_s", None, 0, 7 * 86400)
        refused: errors.CoordinatorError | None = None
        async with anyio.create_task_group() as tasks:

            async def until_left() -> None:
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(until_left)
            try:
                await self._coordinator.load(name, keep_s)
            except errors.CoordinatorError as error:
                refused = error
            tasks.cancel_scope.cancel()
        if refused is not None:
            raise refused
        return {"runtime": name, "state": "ready"}

    async def unload(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        """Drain and stop a runtime; `now` cancels its work first."""
        name = self._runtime(request)
        unloaded = await self._coordinator.unload(name, body.get("now") is True)
        return {
            "runtime": name,
            "waits_for_leases": unloaded.waits_for_leases,
            "usual_run_s": self._coordinator.lessons.typical_run_s(name),
        }

    async def log(self, request: Request, _: dict[str, Any]) -> dict[str, Any]:
        """The newest lines of a runtime's log, redacted."""
        name = self._runtime(request)
        return {"runtime": name, "lines": list(self._coordinator.log_tail(name, 200))}

    async def pause(self, _: Request, __: dict[str, Any]) -> dict[str, Any]:
        """Hold the queue; running work goes on."""
        await self._coordinator.pause(True)
        return {"paused": True}

    async def resume(self, _: Request, __: dict[str, Any]) -> dict[str, Any]:
        """Let the queue go on."""
        await self._coordinator.pause(False)
        return {"paused": False}

    async def work(self, request: Request, _: dict[str, Any]) -> dict[str, Any]:
        """Where the time of one request went, also when it has ended.

        The head of a stream that waits is sent before anybody knows.
        """
        item = (await self._coordinator.job(str(request.path_params["id"]), None)).item
        shown = ("id", "runtime", "queue_ms", "load_ms", "first_token_ms")
        return {**{name: getattr(item, name) for name in shown}, "state": item.state.value}

    async def cancel(self, request: Request, _: dict[str, Any]) -> dict[str, Any]:
        """Cancel any work item."""
        work_id = str(request.path_params["id"])
        outcome = await self._coordinator.cancel(work_id, None, "an operator")
        return {"id": work_id, "outcome": outcome.value}

    async def priority(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        """Another rank for work that still waits."""
        work_id = str(request.path_params["id"])
        priority = _number(body, "priority", None, 0, 100)
        if priority is None:
            raise BadSwitch("priority", "a number from 0 to 100")
        await self._coordinator.reprioritise(work_id, int(priority))
        return {"id": work_id, "priority": int(priority)}

    async def shutdown(self, _: Request, body: dict[str, Any]) -> dict[str, Any]:
        """Stop the gateway; running work has `drain_s` to end."""
        drain_s = _number(body, "drain_s", 60.0, 0, 86400)
        self._stop(drain_s or 0.0)
        return {"stopping": True}

    def _runtime(self, request: Request) -> str:
        return self._coordinator.registry.resolve(str(request.path_params["name"])).name


class BadSwitch(Exception):
    """A field of a switch's body is not what it must be."""

    def __init__(self, field: str, wanted: str) -> None:
        super().__init__(f"{field!r} must be {wanted}")
        self.field = field


Switch = Callable[[Request, dict[str, Any]], Awaitable[dict[str, Any]]]


def _switch(do: Switch) -> Handler:
    async def answer(request: Request) -> Response:
        # A page of another origin cannot set this header without a preflight, which we never allow.
        if request.method == "POST" and request.headers.get("x-lmg-request") != "1":
            return _refuse(403, "header_missing", "send the header X-LMG-Request: 1")
        try:
            body = json.loads(await request.body() or b"{}")
            if not isinstance(body, dict):
                return _refuse(400, "invalid_request", "the body must be a JSON object")
            return JSONResponse(await do(request, body))
        except (json.JSONDecodeError, UnicodeDecodeError, BadSwitch) as error:
            return _refuse(400, "invalid_request", str(error))
        except errors.CoordinatorError as error:
            return _refuse(_STATUS.get(type(error), 500), error.code, str(error))
        except runtimes_errors.UnknownModel as error:
            return _refuse(404, error.code, str(error))

    return answer


def _refuse(code: int, word: str, message: str) -> Response:
    body = answers.Refusal(code, word, message).body()
    return Response(body, code, media_type="application/json")


def _number(
    body: dict[str, Any], field: str, default: float | None, least: float, most: float
) -> float | None:
    value = body.get(field, default)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise BadSwitch(field, f"a number from {least:g} to {most:g}")
    return float(value)
