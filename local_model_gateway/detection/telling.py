"""What was found, as a person reads it."""

from collections.abc import Iterator, Sequence

from local_model_gateway import phrases
from local_model_gateway.detection import engines
from local_model_gateway.detection.survey import Survey, server_of
from recipes import loader
from recipes.front_matter import Kind
from runtimes import devices

LOOKED_FOR = (
    "Ollama, LM Studio, llama.cpp, vLLM, SGLang, TabbyAPI,\n"
    "KoboldCpp, MLX, LocalAI, RamaLama and MAX"
)
_GIB = 1 << 30


def survey(found: Survey) -> str:
    """The machine, its engines, model files and clients, and who holds memory now."""
    rows = [("Machine", _machine(found.pool))]
    rows += _labelled("Engines", _engines(found))
    rows += _labelled("Models", _models(found))
    rows += _labelled("Held", _held(found))
    if found.clients:
        rows.append(("Clients", ", ".join(one.title for one in found.clients)))
    return "\n".join(f"  {label:9} {text}" for label, text in rows)


def nothing(found: Survey) -> str:
    """Why nothing that was found can be offered."""
    if found.running or found.models:
        why = "Nothing of that can be asked through the gateway as it is."
    else:
        why = f"No engine with a model was found. Looked for {LOOKED_FOR}."
    return f"{why}\nThe built-in model runs meanwhile, so that clients can be set up first."


def title(engine: str) -> str:
    """An engine's name as its makers write it."""
    recipe = loader.every(Kind.ENGINE).get(engine)
    return recipe.front.title if recipe else engine


def _machine(pool: devices.Reading) -> str:
    total, free = pool.total_bytes, pool.free_bytes
    known = "memory unknown" if total is None else phrases.size(total)
    left = "" if free is None else f", {free / _GIB:.1f} free"
    if pool.kind is devices.Kind.HOST:
        return f"no GPU found; {known} of memory{left}"
    return f"{pool.name}, {known}{' shared with the system' if pool.unified else ''}{left}"


def _engines(found: Survey) -> Iterator[str]:
    there = {one.engine for one in found.running}
    rows = [(_named(one), _offer(one)) for one in found.running]
    rows += [
        (f"{title(program)} on PATH", path)
        for program, path in found.programs.items()
        if program not in there
    ]
    width = max((len(name) for name, _ in rows), default=0)
    yield from (f"{name:{width}}   {offer}".rstrip() for name, offer in rows)


def _named(engine: engines.Engine) -> str:
    version = f" {engine.version}" if engine.version else ""
    return f"{title(engine.engine)}{version} on :{engine.port}"


def _offer(engine: engines.Engine) -> str:
    offered = phrases.count(len(engine.models), "model") + _some(engine.models)
    if engine.recipe is None:
        return f"{offered}   not in the queue yet: lmg adopt {engine.port}"
    return offered


def _some(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f": {', '.join(names[:2])}{more}"


def _models(found: Survey) -> Iterator[str]:
    for kind, word in (("gguf", "GGUF file"), ("mlx", "MLX folder")):
        files = [one for one in found.models if one.kind == kind]
        if files:
            size = phrases.size(sum(one.size_bytes for one in files))
            yield f"{phrases.count(len(files), word)}, {size}, {_served(kind, found)}"


def _served(kind: str, found: Survey) -> str:
    engine = server_of(kind, found)
    if engine is not None:
        return f"for {'llama.cpp, built in' if engine == 'embedded' else title(engine)}"
    return f"and nothing here serves them: lmg recipes show {'mlx-lm' if kind == 'mlx' else 'llama-server'}"


def _held(found: Survey) -> Iterator[str]:
    for one in found.holders:
        where = "".join(f" on :{port}" for port in one.ports[:1])
        size = phrases.size(one.memory_bytes)
        yield f"{size} by {one.program}, pid {one.pid}{where}, outside the queue"


def _labelled(label: str, texts: Iterator[str]) -> list[tuple[str, str]]:
    return [(label if number == 0 else "", text) for number, text in enumerate(texts)]
