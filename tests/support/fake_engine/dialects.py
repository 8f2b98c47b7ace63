"""The load and unload routes of engines that stay up while models come and go, in their own shapes."""

from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.fake_engine import wire
from tests.support.fake_engine.engine import Engine

Handler = Callable[[Engine, wire.Connection, wire.Request], Awaitable[bool]]


async def answer(engine: Engine, connection: wire.Connection, request: wire.Request) -> bool:
    """Answer a route of the chosen dialect; False when the request is not one of its own."""
    handler = _DIALECTS.get(engine.knobs.dialect)
    return handler is not None and await handler(engine, connection, request)


async def _ollama(engine: Engine, connection: wire.Connection, request: wire.Request) -> bool:
    size = engine.knobs.memory_mib << 20
    match request.method, request.path:
        case "GET" | "HEAD", "/":
            await connection.send(200, b"Ollama is running", "text/plain; charset=utf-8")
        case "GET", "/api/version":
            await connection.send(200, {"version": "0.14.2"})
        case "GET", "/api/tags":
            row = {"name": engine.knobs.model, "model": engine.knobs.model, "size": size}
            await connection.send(200, {"models": [row]})
        case "GET", "/api/ps":
            row = {"name": engine.loaded, "model": engine.loaded, "size": size, "size_vram": size}
            row |= {"context_length": engine.knobs.context, "expires_at": "2318-01-01T00:00:00Z"}
            await connection.send(200, {"models": [row] if engine.loaded else []})
        case "POST", "/api/generate":
            await _ollama_generate(engine, connection, request.json())
        case _:
            return False
    return True


async def _ollama_generate(
    engine: Engine, connection: wire.Connection, body: dict[str, Any]
) -> None:
    model = body.get("model")
    if model != engine.knobs.model:
        await connection.send(404, {"error": f"model '{model}' not found"})
        return
    reason = "load"
    if body.get("keep_alive") == 0:
        reason = "unload"
        if engine.loaded:
            engine.unload()
    elif not engine.loaded:
        await engine.load(engine.knobs.model)
    said = {"model": model, "response": "", "done": True, "done_reason": reason}
    await connection.send(200, said)


async def _tabbyapi(engine: Engine, connection: wire.Connection, request: wire.Request) -> bool:
    match request.method, request.path:
        case "GET", "/health":
            await connection.send(200, {"status": "healthy", "issues": []})
        case "GET", "/v1/model":
            if engine.loaded is None:
                await connection.send(400, {"detail": "No models are currently loaded."})
            else:
                parameters = {
                    "max_seq_len": engine.knobs.context,
                    "max_batch_size": engine.knobs.slots,
                }
                await connection.send(
                    200, {"id": engine.loaded, "object": "model", "parameters": parameters}
                )
        case "POST", "/v1/model/load":
            await _tabby_load(engine, connection, request.json())
        case "POST", "/v1/model/unload":
            if engine.loaded is None:
                await connection.send(400, {"detail": "No models are currently loaded."})
            else:
                engine.unload()
                await connection.send(200, b"null")
        case _:
            return False
    return True


async def _tabby_load(engine: Engine, connection: wire.Connection, body: dict[str, Any]) -> None:
    name = body.get("model_name")
    if name != engine.knobs.model:
        await connection.send(400, {"detail": f"Could not find the model path {name} for load."})
        return
    if engine.loaded == name:
        await connection.send(400, {"detail": f"Model {name} is already loaded!"})
        return
    await connection.begin()
    for module in range(3):
        state = {"model_type": "model", "module": module, "modules": 3, "status": "processing"}
        await connection.event(state)
    await engine.load(engine.knobs.model)
    await connection.event({"model_type": "model", "module": 3, "modules": 3, "status": "finished"})
    await connection.end()


async def _lmstudio(engine: Engine, connection: wire.Connection, request: wire.Request) -> bool:
    match request.method, request.path:
        case "GET", "/api/v1/models":
            config = {"context_length": engine.knobs.context, "parallel": engine.knobs.slots}
            instances = [{"id": f"{engine.loaded}:1", "config": config}] if engine.loaded else []
            row = {
                "type": "llm",
                "key": engine.knobs.model,
                "size_bytes": engine.knobs.memory_mib << 20,
            }
            row |= {"max_context_length": engine.knobs.context, "loaded_instances": instances}
            await connection.send(200, {"models": [row]})
        case "POST", "/api/v1/models/load":
            if request.json().get("model") != engine.knobs.model:
                await connection.send(
                    404, {"error": {"message": "model not found", "type": "not_found"}}
                )
                return True
            await engine.load(engine.knobs.model)
            said = {"type": "llm", "instance_id": f"{engine.loaded}:1", "load_time_seconds": 0.1}
            await connection.send(200, {**said, "status": "loaded"})
        case "POST", "/api/v1/models/unload":
            instance = request.json().get("instance_id")
            if engine.loaded is None or instance != f"{engine.loaded}:1":
                await connection.send(
                    404, {"error": {"message": "no such instance", "type": "not_found"}}
                )
                return True
            engine.unload()
            await connection.send(200, {"instance_id": instance})
        case _:
            return False
    return True


async def _koboldcpp(engine: Engine, connection: wire.Connection, request: wire.Request) -> bool:
    match request.method, request.path:
        case "GET", "/api/extra/version":
            await connection.send(200, {"result": "KoboldCpp", "version": "1.120", "admin": 1})
        case "GET", "/api/v1/model":
            name = f"koboldcpp/{engine.loaded}" if engine.loaded else "inactive"
            await connection.send(200, {"result": name})
        case "GET", "/api/admin/list_options":
            await connection.send(
                200, [f"{engine.knobs.model}.kcpps", "unload_model", "initial_model"]
            )
        case "POST", "/api/admin/reload_config":
            await _kobold_reload(engine, connection, request.json().get("filename"))
        case "GET", "/api/extra/perf":
            await connection.send(200, {"uptime": 1, "idle": int(not engine.active), "queue": 0})
        case _:
            return False
    return True


async def _kobold_reload(engine: Engine, connection: wire.Connection, filename: object) -> None:
    if filename == "unload_model" and engine.loaded:
        engine.unload()
    elif filename == f"{engine.knobs.model}.kcpps" and not engine.loaded:
        await engine.load(engine.knobs.model)
    await connection.send(200, {"success": filename is not None})


async def _llama_router(engine: Engine, connection: wire.Connection, request: wire.Request) -> bool:
    match request.method, request.path:
        case "GET", "/models":
            status = {"value": "loaded" if engine.loaded else "unloaded"}
            await connection.send(200, {"data": [{"id": engine.knobs.model, "status": status}]})
        case "POST", "/models/load":
            if request.json().get("model") != engine.knobs.model:
                error = {"message": "model is not found", "type": "not_found_error", "code": 404}
                await connection.send(404, {"error": error})
                return True
            await engine.load(engine.knobs.model)
            await connection.send(200, {"success": True})
        case "POST", "/models/unload":
            if engine.loaded is None:
                await connection.send(400, {"error": {"message": "not loaded", "code": 400}})
                return True
            engine.unload()
            await connection.send(200, {"success": True})
        case _:
            return False
    return True


async def _localai(engine: Engine, connection: wire.Connection, request: wire.Request) -> bool:
    match request.method, request.path:
        case "GET", "/readyz" | "/healthz":
            await connection.send(200, b"OK", "text/plain")
        case "POST", "/backend/load":
            await engine.load(engine.knobs.model)
            await connection.send(200, {"message": "ok"})
        case "POST", "/backend/shutdown":
            if engine.loaded is None:
                await connection.send(500, {"error": {"code": 500, "message": "model not found"}})
                return True
            engine.unload()
            await connection.send(200, b"")
        case "GET", "/backend/monitor":
            total = (engine.knobs.memory_mib << 20) if engine.loaded else 0
            state = 2 if engine.loaded else -1
            await connection.send(200, {"state": state, "memory": {"total": total}})
        case _:
            return False
    return True


async def _sglang(engine: Engine, connection: wire.Connection, request: wire.Request) -> bool:
    match request.method, request.path:
        case "GET", "/ready":
            await connection.send(200 if engine.ready else 503, b"", "text/plain")
        case "GET", "/server_info":
            await connection.send(200, {"model_path": engine.knobs.model, "version": "0.5.23"})
        case "POST", "/release_memory_occupation":
            if engine.loaded:
                engine.unload()
            await connection.send(200, b"")
        case "POST", "/resume_memory_occupation":
            if engine.loaded is None:
                await engine.load(engine.knobs.model)
            await connection.send(200, b"")
        case _:
            return False
    return True


async def _vllm(engine: Engine, connection: wire.Connection, request: wire.Request) -> bool:
    match request.method, request.path:
        case "GET", "/version":
            await connection.send(200, {"version": "0.32.0"})
        case "GET", "/is_sleeping":
            await connection.send(200, {"is_sleeping": engine.ready and engine.loaded is None})
        case "POST", "/sleep":
            if engine.loaded:
                engine.unload()
            await connection.send(200, b"")
        case "POST", "/wake_up":
            if engine.loaded is None:
                await engine.load(engine.knobs.model)
            await connection.send(200, b"")
        case "GET", "/metrics":
            lines = f"vllm:num_requests_running {engine.active}\nvllm:num_requests_waiting 0\n"
            await connection.send(200, lines.encode(), "text/plain")
        case _:
            return False
    return True


_DIALECTS: dict[str, Handler] = {
    "ollama": _ollama,
    "tabbyapi": _tabbyapi,
    "lmstudio": _lmstudio,
    "koboldcpp": _koboldcpp,
    "llama-router": _llama_router,
    "localai": _localai,
    "sglang": _sglang,
    "vllm": _vllm,
}
