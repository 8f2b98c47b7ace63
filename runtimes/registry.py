"""All configured runtimes: what each is, how it lives, and which one an alias means."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from rapidfuzz import fuzz, utils
from rapidfuzz import process as matching

from runtimes import base, embedded, errors, footprint, launch, process_tree
from runtimes.lifecycles import http_swap, remote, service
from runtimes.lifecycles import process as process_lifecycle
from runtimes.settings import EngineRecipe, LifecycleKind, RuntimeSettings

NEAREST = 3
Measure = Callable[[Iterable[int]], int | None]


@dataclass(frozen=True, slots=True)
class Managed:
    """One runtime."""

    spec: base.RuntimeSpec
    lifecycle: base.Lifecycle


@dataclass(frozen=True, slots=True)
class Registry:
    """Every runtime of one configuration."""

    runtimes: Mapping[str, Managed] = field(default_factory=dict)
    by_alias: Mapping[str, str] = field(default_factory=dict)

    def specs(self) -> list[base.RuntimeSpec]:
        """In the order of the configuration."""
        return [managed.spec for managed in self.runtimes.values()]

    def resolve(self, model: str) -> base.RuntimeSpec:
        """The runtime that answers to this alias. Raises `UnknownModel`, never guesses."""
        name = self.by_alias.get(model)
        if name is None:
            raise errors.UnknownModel(model, nearest(model, self.by_alias))
        return self.runtimes[name].spec


def nearest(word: str, known: Iterable[str]) -> list[str]:
    """The few names that look most like it, best first."""
    found = matching.extract(
        word, list(known), scorer=fuzz.WRatio, processor=utils.default_process, limit=NEAREST
    )
    return [name for name, _, _ in found]


def build(
    settings: Mapping[str, RuntimeSettings],
    engines: Mapping[str, EngineRecipe],
    places: launch.Places,
    *,
    measure: Measure = process_tree.resident_bytes,
) -> Registry:
    """Everything that is configured, nothing started. Raises `RuntimesError` for what cannot be.

    Looks into model files to predict footprints, so an event loop calls it in a thread.
    """
    by_alias: dict[str, str] = {}
    runtimes: dict[str, Managed] = {}
    for name, section in settings.items():
        recipe = engines.get(section.engine)
        if recipe is None:
            raise errors.UnknownEngine(name, section.engine, nearest(section.engine, engines))
        pace = {"health_every": section.health_every, "health_timeout": section.health_timeout}
        given = {key: value for key, value in pace.items() if value is not None}
        recipe = recipe.model_copy(update=given)
        made = spec(name, section, recipe)
        for alias in made.aliases:
            if alias in by_alias:
                raise errors.DuplicateAlias(alias, by_alias[alias], name)
            by_alias[alias] = name
        runtimes[name] = Managed(made, _lifecycle(made, section, recipe, places, measure))
    return Registry(runtimes, by_alias)


def spec(name: str, settings: RuntimeSettings, recipe: EngineRecipe) -> base.RuntimeSpec:
    """What the rest of the gateway needs to know of it."""
    _check(name, settings, recipe)
    toy = recipe.lifecycle is LifecycleKind.EMBEDDED and settings.model is None
    slots = settings.max_concurrency or recipe.max_concurrency
    context = settings.context or recipe.default_context
    names = launch.names(name, settings)
    exclusive = recipe.lifecycle is LifecycleKind.ONESHOT
    return base.RuntimeSpec(
        name=name,
        engine=settings.engine,
        aliases=tuple(dict.fromkeys((name, *settings.aliases))),
        upstream_model=settings.upstream_model or launch.fill(recipe.upstream_model, names),
        max_concurrency=1 if exclusive else slots,
        memory_bytes=_memory(settings, recipe, context, slots),
        gpu_work=recipe.uses_gpu,
        exclusive=exclusive,
        pinned=settings.pinned,
        idle_unload_s=settings.idle_unload_s,
        load_timeout_s=settings.load_timeout,
        stop_timeout_s=settings.stop_timeout,
        context_tokens=context,
        capabilities=frozenset(settings.capabilities or recipe.capabilities),
        notice=settings.notice or (embedded.NOTICE if toy else recipe.notice),
        quirks=recipe.quirks.quirks(),
    )


def _memory(
    settings: RuntimeSettings, recipe: EngineRecipe, context: int | None, slots: int
) -> int | None:
    if settings.memory is not None:
        return settings.memory
    if recipe.lifecycle is LifecycleKind.EMBEDDED and settings.model is None:
        return embedded.TINY_BYTES
    if recipe.model_is == "name" or not PurePath(launch.model_path(settings)).is_absolute():
        return None
    return footprint.of_model(launch.model_path(settings), context, slots)


def _check(name: str, settings: RuntimeSettings, recipe: EngineRecipe) -> None:
    kind = recipe.lifecycle
    started_here = kind in (LifecycleKind.PROCESS, LifecycleKind.ONESHOT)
    if settings.url and (started_here or kind is LifecycleKind.EMBEDDED):
        raise errors.BadRuntime(name, f"`url` has no meaning for {settings.engine}, which we start")
    if settings.model is None and settings.cmd is None and recipe.model_is != "none":
        raise errors.BadRuntime(name, "it has no `model`; add the file, folder or name to serve")
    if kind is LifecycleKind.SERVICE and not (settings.unit or settings.start_cmd):
        raise errors.BadRuntime(name, "it has neither `unit` nor `start_cmd`; add one")
    if settings.start_cmd and not settings.stop_cmd and kind is LifecycleKind.SERVICE:
        raise errors.BadRuntime(
            name, "it has a `start_cmd` but no `stop_cmd`; add how it is stopped"
        )
    if not (started_here or kind is LifecycleKind.EMBEDDED or settings.url or recipe.default_url):
        raise errors.BadRuntime(name, "it has no `url`; add where the server listens")


def _lifecycle(
    made: base.RuntimeSpec,
    settings: RuntimeSettings,
    recipe: EngineRecipe,
    places: launch.Places,
    measure: Measure,
) -> base.Lifecycle:
    match recipe.lifecycle:
        case LifecycleKind.PROCESS | LifecycleKind.ONESHOT:
            how: launch.Launch = launch.RecipeLaunch(made, settings, recipe, places)
            return process_lifecycle.ProcessLifecycle(
                made, recipe, how, places, port=settings.port, measure=measure
            )
        case LifecycleKind.EMBEDDED:
            how = embedded.EmbeddedLaunch(made, settings, recipe, places)
            return process_lifecycle.ProcessLifecycle(
                made, recipe, how, places, port=settings.port, measure=measure
            )
        case LifecycleKind.SERVICE:
            return service.ServiceLifecycle(made, settings, recipe, places, measure)
        case LifecycleKind.HTTP_SWAP:
            return http_swap.HttpSwapLifecycle(made, settings, recipe, measure)
        case LifecycleKind.OLLAMA:
            return http_swap.OllamaLifecycle(made, settings, recipe, measure)
        case LifecycleKind.REMOTE:
            return remote.RemoteLifecycle(made, settings, recipe)
