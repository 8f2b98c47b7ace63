"""`/v1/models`: every alias that a client may ask for, and what there is to know of each."""

from typing import Any

from starlette.types import Receive, Scope, Send

from coordinator import loop
from openai_shim import answers, errors, options
from runtimes import base
from runtimes import errors as runtimes_errors

CREATED = 1_700_000_000  # clients want a number; a model has no birthday here


class Models:
    """The list, and each of its members."""

    def __init__(self, coordinator: loop.Coordinator, settings: options.ShimOptions) -> None:
        self._coordinator, self._settings = coordinator, settings

    async def collection(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Every alias, in the order of the configuration."""
        states = self._states()
        data = [
            _shown(spec, alias, states)
            for spec in self._coordinator.registry.specs()
            for alias in spec.aliases
        ]
        await answers.data(send, 200, {"object": "list", "data": data})

    async def member(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One alias; names may hold slashes."""
        alias = str(scope["path_params"]["id"])
        try:
            spec = self._coordinator.registry.resolve(alias)
        except runtimes_errors.UnknownModel as error:
            await answers.error(send, errors.answer(error))
            return
        await answers.data(send, 200, _shown(spec, alias, self._states()))

    def _states(self) -> dict[str, Any]:
        return {line.name: line for line in self._coordinator.snapshot().runtimes}


def _shown(spec: base.RuntimeSpec, alias: str, states: dict[str, Any]) -> dict[str, Any]:
    line = states.get(spec.name)
    context = spec.context_tokens if line is None else line.context_tokens or spec.context_tokens
    made: dict[str, Any] = {
        "id": alias,
        "object": "model",
        "created": CREATED,
        "owned_by": "local-model-gateway",
        "root": spec.name,
        "runtime": spec.name,
        "aliases": list(spec.aliases),
        "engine": spec.engine,
        "state": "unknown" if line is None else line.state,
        "capabilities": sorted(spec.capabilities),
        "max_concurrency": spec.max_concurrency,
        # Three names for one number: clients look for one or another of them.
        "context_length": context,
        "context_window": context,
        "max_model_len": context,
        "notice": spec.notice,
    }
    if line is not None:
        made["usual_load_s"] = line.usual_load_s
        made["usual_tokens_per_s"] = line.usual_tokens_per_s
        made["retry_in_s"] = line.retry_in_s
    return made
