"""Checks of what happens beside the queue: engines, clients and settings that go around it."""

import shutil
from collections.abc import Iterator

from local_model_gateway import phrases
from local_model_gateway.detection import engines, processes
from local_model_gateway.doctor.finding import Case, Finding, fail, note, ok, skip
from recipes import loader
from recipes.front_matter import Kind

MAX_CLIENT_FILE = 512 * 1024


def memory_holders(case: Case) -> Iterator[Finding]:
    """Engines that hold memory and that nobody here started."""
    holders = processes.outside(case.gateway_pid)
    for holder in holders:
        ports = "".join(f" on :{port}" for port in holder.ports[:1])
        yield fail(
            "GPU-BYPASS",
            "Bypass",
            f"{holder.program}, pid {holder.pid}{ports}, holds {phrases.size(holder.memory_bytes)} outside the queue",
            "Its memory is missing when the gateway loads a model; configure it as a runtime, or end it.",
            f"ps -o pid,etime,args -p {holder.pid}",
        )
    if not holders:
        yield ok("BYPASS", "Bypass", "no engine holds memory outside the queue")


def listening_engines(case: Case) -> Iterator[Finding]:
    """Engines that answer clients directly."""
    if case.quick:
        yield skip("ENGINES", "Engines", "not asked for")
        return
    for engine in engines.running(case.ports or engines.PORTS):
        if engine.engine == "ollama":
            yield note(
                "OLLAMA-KEEPALIVE",
                "Ollama",
                f"on :{engine.port}, keeps models for minutes on its own",
                "What other clients load there stays in memory after the gateway thinks it is gone.",
                "export OLLAMA_KEEP_ALIVE=0",
            )
        elif engine.engine == "lmstudio":
            yield note(
                "LMSTUDIO-JIT",
                "LM Studio",
                f"on :{engine.port}, may load and drop models by itself",
                "Switch off JIT loading and auto-evict in its developer settings.",
                "lmg recipes show lmstudio",
            )
        elif engine.engine != engines.OURS:
            yield note(
                "ENGINE-DIRECT",
                "Engines",
                f"{engine.engine} answers on :{engine.port}",
                "Clients that use it directly are not in the queue.",
                f"lmg recipes show {engine.engine}",
            )


def clients(case: Case) -> Iterator[Finding]:
    """Clients whose settings name an engine's port rather than ours."""
    addresses = [
        f"{host}:{port}"
        for port in (case.ports or engines.PORTS)
        for host in ("127.0.0.1", "localhost")
    ]
    for recipe in loader.every(Kind.CLIENT).values():
        for detect in recipe.front.detect:
            if not detect.path or not detect.path.startswith("~/"):
                continue
            file = case.home / detect.path.removeprefix("~/")
            try:
                if not file.is_file() or file.stat().st_size > MAX_CLIENT_FILE:
                    continue
                text = file.read_text(errors="replace")
            except OSError:
                continue
            found = next((address for address in addresses if address in text), None)
            if found:
                yield note(
                    "CLIENT-BYPASS",
                    "Clients",
                    f"{recipe.front.title} uses {found} directly ({detect.path})",
                    "Its requests do not wait in the queue, and load models behind the gateway's back.",
                    f"lmg connect {recipe.id} --dry-run",
                )


def tool_servers(case: Case) -> Iterator[Finding]:
    """Downstream MCP servers whose program is not there."""
    if case.settings is None:
        return
    for name, server in case.settings.mcp_servers.items():
        if server.enabled and server.command and shutil.which(server.command) is None:
            yield fail(
                "MCP-COMMAND-MISSING",
                "Tools",
                f"{name}: the program {server.command} is not on the PATH",
                "Its tools can be found and not called.",
                f"command -v {server.command}",
            )
