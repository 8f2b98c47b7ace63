"""Checks of engines that answer clients beside the queue, and of settings by which they act on their own."""

import functools
from collections.abc import Iterator

import psutil

from local_model_gateway.detection import at_once, engines, probe
from local_model_gateway.doctor import memory, served
from local_model_gateway.doctor.finding import Case, Finding, Fix, mend, note, ok, show, skip

SUBJECT = "Engines"
PORT_S = 2 * probe.TIMEOUT_S
"""For all questions to one port: some engines are only known by the third answer."""
_KEEP_ALIVE = "OLLAMA_KEEP_ALIVE"
_AT_ONCE = frozenset({"0", "0s", "0m"})


def listening(case: Case) -> Iterator[Finding]:
    """Engines that answer clients directly, unless they are the gateway's own."""
    if case.quick:
        yield skip("ENGINES", SUBJECT, "not asked for")
        return
    ports = case.ports or engines.PORTS
    family = case.family
    strange = [port for port in ports if case.table.listeners().get(port) not in family]
    found = at_once.look(
        {str(port): functools.partial(engines.identify, port) for port in strange}, PORT_S
    )
    for port in strange:
        engine = found.get(str(port), engines.identify)
        if isinstance(engine, engines.Engine):
            yield from _described(case, engine)
        elif engine is engines.identify:
            yield skip(
                "ENGINE-SLOW", SUBJECT, f":{port} accepts, and did not say in time what it is"
            )


def _described(case: Case, engine: engines.Engine) -> Iterator[Finding]:
    match engine.engine:
        case "ollama":
            yield _ollama(case, engine.port)
        case "lmstudio":
            yield note(
                "LMSTUDIO-JIT",
                "LM Studio",
                f"on :{engine.port}, may load and drop models by itself",
                "Switch off JIT loading and auto-evict in its developer settings.",
                show("lmg recipes show lmstudio"),
            )
        case engines.OURS:
            return
        case _:
            if engine.port not in served.ports(case):
                yield note(
                    "ENGINE-DIRECT",
                    SUBJECT,
                    f"{engine.engine} answers on :{engine.port}",
                    "Clients that use it directly are not in the queue.",
                    _into_the_queue(case, engine),
                )


def _ollama(case: Case, port: int) -> Finding:
    """By what its process was started with, where we may see that."""
    owner = case.table.listening_on(port)
    kept = _variable(owner.pid) if owner else None
    if kept in _AT_ONCE:
        return ok("OLLAMA", "Ollama", f"on :{port}, drops each model when its answer ends")
    return note(
        "OLLAMA-KEEPALIVE",
        "Ollama",
        f"on :{port}, keeps models {kept or '5 min'} on its own",
        "What other clients load there stays in memory after the gateway thinks it is gone.",
        _keep_alive_fix(owner.pid if owner else None),
    )


def _variable(pid: int) -> str | None:
    try:
        return psutil.Process(pid).environ().get(_KEEP_ALIVE)
    except (psutil.Error, OSError):
        return None


def _keep_alive_fix(pid: int | None) -> Fix:
    """A line for its unit where systemd starts it; else its recipe says where the variable goes."""
    unit = _unit(pid)
    if unit is None:
        return show("lmg recipes show ollama")
    folder = f"/etc/systemd/system/{unit}.d"
    text = f"printf '[Service]\\nEnvironment={_KEEP_ALIVE}=0\\n'"
    return mend(
        f"sudo mkdir -p {folder} && {text} | sudo tee {folder}/keep-alive.conf"
        f" && sudo systemctl daemon-reload && sudo systemctl restart {unit}"
    )


def _unit(pid: int | None) -> str | None:
    try:
        with open(f"/proc/{pid}/cgroup") as stream:  # noqa: PTH123 - a path of the kernel's
            words = stream.read().replace("\n", "/").split("/")
    except OSError:
        return None
    return next((word for word in words if word == "ollama.service"), None)


def _into_the_queue(case: Case, engine: engines.Engine) -> Fix:
    owner = case.table.listening_on(engine.port)
    if owner is not None and owner.engine:
        return memory.adopt(case, owner.pid, (engine.port,))
    return show("lmg recipes list")
