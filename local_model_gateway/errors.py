"""What can go wrong before, around and outside a request; each knows the command line's exit code.

GatewayError                 1
├── ConfigError              4  config_invalid: the configuration cannot be used
├── BindRefused              4  bind_refused: the address would expose the gateway
├── AddressInUse             1  address_in_use
├── Unreachable              3  unreachable: no gateway answers
├── NoSuchThing              5  not_found
├── RefusedByGateway         6  refused: by policy, a key, or because work would be cut off
├── StillQueued              7  still_queued
└── CommandFailed            1  failed
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local_model_gateway import paths


class GatewayError(Exception):
    """Every error of this package; `code` is stable, `exit_code` is the command line's."""

    code = "gateway_error"
    exit_code = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a configuration, and where."""

    message: str
    suggestion: str | None = None
    file: Path | None = None
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        where = ""
        if self.file is not None:
            name = paths.shown(self.file)
            where = f"{name}:{self.line}:{self.column}: " if self.line else f"{name}: "
        return f"{where}{self.message}{self.suggestion or ''}"


class ConfigError(GatewayError):
    """The configuration cannot be used; nothing was started and nothing was changed."""

    code = "config_invalid"
    exit_code = 4

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(str(problems[0]))
        self.problems = tuple(problems)
        first = problems[0]
        self.file, self.line, self.column = first.file, first.line, first.column
        self.message, self.suggestion = first.message, first.suggestion


class BindRefused(GatewayError):
    """The address is reachable from other machines and nothing would protect it."""

    code = "bind_refused"
    exit_code = 4


class AddressInUse(GatewayError):
    """Somebody listens on the configured address already."""

    code = "address_in_use"


class Unreachable(GatewayError):
    """No gateway answered."""

    code = "unreachable"
    exit_code = 3


class Usage(GatewayError):
    """Something is missing on the command line, or cannot be meant."""

    code = "usage"
    exit_code = 2


class NoSuchThing(GatewayError):
    """The gateway knows no such model, work item, job or tool."""

    code = "not_found"
    exit_code = 5


class RefusedByGateway(GatewayError):
    """The gateway would not do it: a key, a policy, or work that would be cut off."""

    code = "refused"
    exit_code = 6


class StillQueued(GatewayError):
    """The patience of the command ran out before the work began."""

    code = "still_queued"
    exit_code = 7


class CommandFailed(GatewayError):
    """The gateway tried and failed, or answered what nobody expected."""

    code = "failed"
