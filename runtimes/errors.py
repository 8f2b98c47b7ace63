"""What can be wrong with runtimes before one is started (`base.EngineFailed` is what comes after).

RuntimesError
├── DuplicateAlias      two runtimes want the same name
├── UnknownEngine       no recipe of that id
├── UnknownModel        no runtime answers to that alias
└── BadRuntime          this runtime's section does not fit its engine
"""

from collections.abc import Sequence


class RuntimesError(Exception):
    """Any of the below."""

    code = "invalid_config"


class DuplicateAlias(RuntimesError):
    """Two runtimes want the same name; requests for it could go to either."""

    def __init__(self, alias: str, first: str, second: str) -> None:
        super().__init__(
            f"runtimes {first!r} and {second!r} both answer to {alias!r}; rename one of the two"
        )
        self.alias, self.first, self.second = alias, first, second


class UnknownEngine(RuntimesError):
    """No recipe of that id."""

    def __init__(self, runtime: str, engine: str, nearest: Sequence[str]) -> None:
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        super().__init__(f"runtime {runtime!r} wants engine {engine!r}, which has no recipe{hint}")
        self.runtime, self.engine, self.nearest = runtime, engine, tuple(nearest)


class UnknownModel(RuntimesError):
    """No runtime answers to that alias; never another model silently."""

    code = "model_not_found"

    def __init__(self, model: str, nearest: Sequence[str]) -> None:
        hint = f"; the nearest are {', '.join(nearest)}" if nearest else "; none is configured"
        super().__init__(f"no model {model[:200]!r} here{hint}")
        self.model, self.nearest = model, tuple(nearest)


class BadRuntime(RuntimesError):
    """This runtime's section does not fit its engine."""

    def __init__(self, runtime: str, problem: str) -> None:
        super().__init__(f"runtime {runtime!r}: {problem}")
        self.runtime, self.problem = runtime, problem
