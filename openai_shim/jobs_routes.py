"""`/v1/jobs`: stored work over plain HTTP, the same rows as everywhere else."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import anyio
import pydantic_core
from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from coordinator import errors as coordinator_errors
from coordinator import forecast, jobs, loop, state, work
from openai_shim import answers, errors, identity, options, reading
from openai_shim.dialects import responses
from openai_shim.dialects.dialect import Dialect
from runtimes import errors as runtimes_errors

MOST_ATTEMPTS = 10
LARGEST_PAGE = 200


async def accept(coordinator: loop.Coordinator, send: Send, request: work.WorkRequest) -> None:
    """Store it, and answer 202 with where to look."""
    submitted = await coordinator.submit(request)
    shown = show(submitted.item, submitted.outlook)
    where = f"/v1/jobs/{submitted.item.id}".encode()
    headers = [(b"location", where), (b"preference-applied", b"respond-async")]
    await answers.data(send, 202, {**shown, "joined": submitted.joined}, headers)


def show(
    item: work.WorkItem, outlook: forecast.Outlook | None, answer: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A job as its owner sees it; the body that was sent and the owner are not in it."""
    made: dict[str, Any] = {
        "id": item.id,
        "object": "job",
        "status": item.state.value,
        "model": item.alias,
        "runtime": item.runtime,
        "path": _client_path(item),
        "priority": item.priority,
        "created_at": _moment(item.created_at),
        "started_at": _moment(item.started_at),
        "ended_at": _moment(item.ended_at),
        "attempts": item.attempts,
        "max_attempts": item.max_attempts,
        "cancel_requested": item.cancel_requested_at is not None,
        "queue_ms": item.queue_ms,
        "load_ms": item.load_ms,
        "first_token_ms": item.first_token_ms,
        "prompt_tokens": item.prompt_tokens,
        "output_tokens": item.output_tokens,
        "error": None if item.code is None else {"code": item.code, "message": item.message},
    }
    if outlook is not None:
        eta = outlook.eta_s
        made["position"], made["waits_for"] = outlook.position, outlook.waits_for
        made["eta_s"] = None if eta is None else [round(eta[0], 1), round(eta[1], 1)]
        made["behind"] = outlook.behind
    if answer is not None:
        made.update(answer)
    return made


def _client_path(item: work.WorkItem) -> str:
    return responses.PATH if item.surface == responses.SURFACE else item.path


def _moment(at: float | None) -> str | None:
    return (
        None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    )


class Jobs:
    """The collection, and each of its members."""

    def __init__(
        self,
        coordinator: loop.Coordinator,
        settings: options.ShimOptions,
        dialects: Mapping[str, Dialect],
    ) -> None:
        self._coordinator, self._settings, self._dialects = coordinator, settings, dialects

    async def collection(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST stores a job, GET lists one's own."""
        if answers.is_get(scope):
            await self._answered(scope, send, self._list(scope, send))
        else:
            await self._answered(scope, send, self._submit(scope, receive, send))

    async def member(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET looks, and waits if asked to; DELETE cancels."""
        if answers.is_get(scope):
            await self._answered(scope, send, self._look(scope, receive, send))
        else:
            await self._answered(scope, send, self._cancel(scope, send))

    async def _answered(self, scope: Scope, send: Send, answering: Any) -> None:  # a coroutine
        try:
            await answering
        except answers.ClientGone:
            return
        except EXPECTED as error:
            await answers.error(send, errors.answer(error))

    async def _submit(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = self.request(scope, reading.parse(await answers.body_of(receive)))
        await accept(self._coordinator, send, request)

    def request(self, scope: Scope, given: dict[str, Any]) -> work.WorkRequest:
        """The work in `{"path", "body", …}`, or in a plain OpenAI body whose route its fields tell."""
        path, body, around = _unwrapped(given)
        dialect = self._dialects.get(path)
        if dialect is None:
            known = ", ".join(sorted(self._dialects))
            raise errors.InvalidRequest(f"`path` must be one of {known}.", "path")
        asked = reading.asked(scope, {**body, **{k: v for k, v in around.items() if k != "body"}})
        spec = self._coordinator.registry.resolve(asked.model)
        fields = {**dialect.fields(body), "model": asked.model}
        fields.pop("stream", None)
        key = around.get("idempotency_key")
        if key is not None and not (isinstance(key, str) and 0 < len(key) <= reading.LONGEST_NAME):
            raise errors.InvalidRequest(
                "`idempotency_key` must have 1 to 200 characters.", "idempotency_key"
            )
        stored = reading.finite(fields, pydantic_core.to_json(fields))
        return work.WorkRequest(
            runtime=spec.name,
            alias=asked.model,
            path=dialect.path,
            owner=identity.caller(scope).keeper,
            surface=dialect.surface,
            durability=work.Durability.STORED,
            priority=asked.priority,
            max_queue_wait_s=asked.max_queue_wait_s,
            run_timeout_s=asked.run_timeout_s,
            max_attempts=_attempts(around.get("max_attempts")),
            idempotency_key=key or asked.idempotency_key,
            body=stored,
            prompt_tokens=max(1, len(stored) // 4),
        )

    async def _list(self, scope: Scope, send: Send) -> None:
        query = QueryParams(scope["query_string"])
        limit = _number(query, "limit", 50, LARGEST_PAGE)
        before = _number(query, "before", 0, 2**62) or None
        states = [_state(word) for word in query.get("status", "").split(",") if word]
        owner = identity.caller(scope).keeper
        items = await self._coordinator.jobs(owner, states or None, limit + 1, before)
        page = [show(item, self._coordinator.outlook(item.id)) for item in items[:limit]]
        more = len(items) > limit
        payload: dict[str, Any] = {"object": "list", "data": page, "has_more": more}
        if more:
            payload["before"] = items[limit - 1].seq
        await answers.data(send, 200, payload)

    async def _look(self, scope: Scope, receive: Receive, send: Send) -> None:
        work_id, owner = _id(scope), identity.caller(scope).keeper
        query = QueryParams(scope["query_string"])
        wait_s = _number(query, "wait", 0, 3600)
        if not wait_s:
            await self._shown(send, await self._coordinator.job(work_id, owner))
            return
        found: jobs.Job | None = None
        async with anyio.create_task_group() as group:

            async def until_left() -> None:
                await answers.left(receive)
                group.cancel_scope.cancel()

            group.start_soon(until_left)
            longest_s = self._settings.longest_wait_s
            try:
                found = await self._coordinator.wait_for(work_id, owner, min(wait_s, longest_s))
            except EXPECTED as error:
                await answers.error(send, errors.answer(error))
            group.cancel_scope.cancel()
        if found is not None:
            await self._shown(send, found)

    async def _shown(self, send: Send, job: jobs.Job) -> None:
        await answers.data(send, 200, show(job.item, job.outlook, _result(job)))

    async def _cancel(self, scope: Scope, send: Send) -> None:
        work_id, owner = _id(scope), identity.caller(scope).keeper
        outcome = await self._coordinator.cancel(work_id, owner, "its owner")
        payload = {"id": work_id, "object": "job", "outcome": outcome.value, "said": SAID[outcome]}
        await answers.data(send, 200, payload)


EXPECTED = (
    errors.ShimError,
    coordinator_errors.CoordinatorError,
    runtimes_errors.UnknownModel,
)

SAID = {
    loop.CancelOutcome.DEQUEUED: "it was queued; nothing ran",
    loop.CancelOutcome.STOPPED: "it was running; its engine was told to stop",
    loop.CancelOutcome.ALREADY_ENDED: "it had ended already",
}


def _unwrapped(given: dict[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The route, the engine's body, and what stands around it."""
    body = given.get("body")
    if body is not None:
        if not isinstance(body, dict):
            raise errors.InvalidRequest("`body` must be an object.", "body")
        path = given.get("path")
        return str(path) if path else _path_of(body), body, given
    around = ("path", "idempotency_key", "max_attempts")
    inner = {name: value for name, value in given.items() if name not in around}
    path = given.get("path")
    return str(path) if path else _path_of(inner), inner, given


def _path_of(body: Mapping[str, Any]) -> str:
    if "messages" in body:
        return "/v1/chat/completions"
    if "prompt" in body:
        return "/v1/completions"
    if "input" in body:
        raise errors.InvalidRequest(
            "`path` must say /v1/embeddings or /v1/responses: `input` alone does not.", "path"
        )
    raise errors.InvalidRequest("`path` is missing, and the body does not tell it.", "path")


def _attempts(value: object) -> int:
    if value is None:
        return 1
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_ATTEMPTS:
        raise errors.InvalidRequest(f"`max_attempts` must be 1 to {MOST_ATTEMPTS}.", "max_attempts")
    return value


def _number(query: QueryParams, name: str, default: int, most: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and int(text[:20]) <= most):
        raise errors.InvalidRequest(f"`{name}` must be a whole number up to {most}.", name)
    return int(text)


def _state(word: str) -> state.WorkState:
    try:
        return state.WorkState(word)
    except ValueError:
        known = ", ".join(each.value for each in state.WorkState)
        raise errors.InvalidRequest(f"`status` must be of {known}.", "status") from None


def _id(scope: Scope) -> str:
    return str(scope["path_params"]["id"])


def _result(job: jobs.Job) -> dict[str, Any]:
    """The kept answer: JSON as JSON, and whatever is not whole as text that says so."""
    kept = job.result
    if kept is None:
        return {}
    if kept.truncated:
        text = base64.b64encode(kept.content).decode()
        return {"result": None, "result_truncated": True, "result_base64": text}
    try:
        payload = pydantic_core.from_json(kept.content)
    except ValueError:
        return {"result": None, "result_base64": base64.b64encode(kept.content).decode()}
    if job.item.surface == responses.SURFACE and job.item.state is state.WorkState.SUCCEEDED:
        payload = responses.kept(payload, job.item.alias)
    return {"result": payload}
