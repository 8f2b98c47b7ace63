"""Whether an engine is ready: its status, what it says, and that it is the model we asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from runtimes.settings import Ready

# The first transport imports its network library, which must not happen on the event loop.
httpx2.AsyncHTTPTransport(verify=False)


@dataclass(frozen=True, slots=True)
class Health:
    """What one look found."""

    ready: bool
    reason: str = ""
    answered: bool = True
    """False when there was no HTTP answer at all: not listening, or deaf."""
    context_tokens: int | None = None
    """The context that it reports for the model."""
    wrong_model: bool = False
    """It is healthy, but it is not what was asked for; waiting will not change that."""


def client(
    base_url: str, headers: Mapping[str, str], timeout_s: float | None
) -> httpx2.AsyncClient:
    """A client for one engine: no proxy, no redirect, nothing from the environment."""
    return httpx2.AsyncClient(
        base_url=base_url,
        headers=dict(headers),
        timeout=timeout_s,
        trust_env=False,
        follow_redirects=False,
        # Making the certificate store takes longer than the request; http has no use for it.
        verify=base_url.startswith("https:"),
    )


async def look(
    base_url: str, headers: Mapping[str, str], ready: Ready, model: str | None, timeout_s: float
) -> Health:
    """One look; never raises for an engine that does not answer."""
    try:
        async with client(base_url, headers, timeout_s) as http:
            answer = await http.get(ready.path)
            if problem := _problem(answer, ready):
                return Health(False, problem)
            if ready.models_path is None or model is None:
                return Health(True)
            listed = await http.get(ready.models_path)
    except (httpx2.HTTPError, OSError) as error:
        return Health(False, f"no answer ({type(error).__name__})", answered=False)
    return _has_model(listed, model)


def _problem(answer: httpx2.Response, ready: Ready) -> str | None:
    if answer.status_code != ready.status:
        return f"{ready.path} says {answer.status_code}"
    if ready.text is not None and ready.text not in answer.text:
        return f"{ready.path} does not say {ready.text!r}"
    if not ready.body:
        return None
    said = _json(answer)
    for path, expected in ready.body.items():
        if str(dig(said, path)) != expected:
            return f"{ready.path} has {path} = {dig(said, path)!r}, not {expected!r}"
    return None


def _has_model(listed: httpx2.Response, model: str) -> Health:
    rows = dig(_json(listed), "data")
    if listed.status_code != 200 or not isinstance(rows, list):
        return Health(False, f"the model list says {listed.status_code}")
    found = [str(name) for row in rows for name in (dig(row, "id"), *(dig(row, "aliases") or []))]
    if model in found:
        return Health(True, context_tokens=_context(rows, model))
    return Health(
        False, f"it serves {', '.join(found[:5]) or 'nothing'}, not {model}", wrong_model=True
    )


def _context(rows: list[Any], model: str) -> int | None:
    """vLLM, SGLang and MAX say `max_model_len`, llama.cpp `meta.n_ctx`."""
    for row in rows:
        if model == dig(row, "id") or model in (dig(row, "aliases") or []):
            for path in ("max_model_len", "meta.n_ctx"):
                size = dig(row, path)
                if isinstance(size, int) and not isinstance(size, bool) and size > 0:
                    return size
    return None


def _json(answer: httpx2.Response) -> Any:  # Any: what an engine says
    try:
        return answer.json()
    except ValueError:
        return None


def dig(data: Any, path: str) -> Any:  # Any: what an engine says
    """The value at a dotted path, such as `loaded_instances.0.id`; None where there is none."""
    for part in path.split(".") if path else []:
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and part.isdigit() and int(part) < len(data):
            data = data[int(part)]
        else:
            return None
    return data
