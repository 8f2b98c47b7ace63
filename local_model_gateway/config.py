"""The configuration: its sections, where it is looked for, and how it becomes one validated object."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import Field, SecretStr

from broker.settings import BrokerSettings, ServerName, ServerSettings
from local_model_gateway import (
    config_problems,
    config_reader,
    config_runtimes,
    config_secrets,
    exposure,
    paths,
)
from local_model_gateway.errors import ConfigError, Problem
from runtimes.settings import RuntimeSettings, Section
from runtimes.units import Duration, Size

BUILT_IN = b"""\
version: 1
runtimes:
  tiny:
    engine: embedded
"""
"""What runs when no configuration exists: a model that answers at once and knows nothing."""


class Server(Section):
    """The one address that everything is reached at."""

    host: str = "127.0.0.1"
    """Where to listen. Anything but loopback needs `keys`."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8787
    """0 takes any free port; `lmg status` finds it."""
    keys: dict[str, SecretStr] = Field(default_factory=dict)
    """Name → key, best as `${env:…}` or `${file:…}`. When there is one, every route but `/health` asks for it."""
    allowed_hosts: tuple[str, ...] = ()
    """More `Host` values to answer to, such as `gateway.lan:8787`; loopback names are always known."""
    allowed_origins: tuple[str, ...] = ()
    """Web origins whose pages may call us, such as `http://localhost:3000`."""
    max_body: Size = 32 * 1024 * 1024
    """The largest request body on every route but `/mcp`."""
    max_mcp_body: Size = 4 * 1024 * 1024
    """The largest request body on `/mcp`."""
    max_connections: Annotated[int, Field(ge=8, le=65535)] = 4096
    """Connections beyond this are answered 503."""
    head_timeout: Duration = 10.0
    """How long a client may take to send a request's headers."""
    body_timeout: Duration = 30.0
    """How long a body may make no progress, and the grace before the lowest rate (1 KiB/s) is asked of it."""
    drain: Duration = 60.0
    """How long running answers may go on when the gateway is told to stop."""


class Queue(Section):
    """Who may wait, and how long."""

    max_queue: Annotated[int, Field(ge=1, le=1_000_000)] = 500
    """Requests waiting in all; one more is answered 429."""
    max_queue_per_client: Annotated[int, Field(ge=1, le=1_000_000)] = 250
    """Requests waiting from one client."""
    max_queue_wait: Duration = 600.0
    """How long a request waits if it does not say so itself."""
    run_timeout: Duration | None = None
    """How long an answer may take, from its grant; nothing means no limit."""
    first_byte_timeout: Duration = 900.0
    """How long an engine may say nothing at all; a long prompt on a slow machine takes minutes."""
    stall_timeout: Duration = 180.0
    """How long an engine may be silent in the middle of an answer."""
    max_result: Size = 4 * 1024 * 1024
    """What is kept of a stored job's result."""


class Scheduling(Section):
    """What the decision about the next model may be tuned by."""

    max_wait: Duration = 30.0
    """How long the best waiting request of another model stands back behind the loaded one. 0: strict first come, first served."""
    min_residency: Duration = 10.0
    """How long a model with work of its own keeps its place after it became ready."""
    residency_per_load: Annotated[float, Field(ge=0, le=100)] = 1.0
    """And at least this many times what its load took, so that loading never takes more of the machine than working. 0: `min_residency` alone."""
    aging: Duration = 60.0
    """Waiting this long earns one point of priority (of 100), so that nothing waits for ever. 0: no aging."""
    settle_cap: Duration = 60.0
    """How long to wait for a stopped engine's memory to come back."""


class Pool(Section):
    """The memory that all models share."""

    memory: Literal["auto"] | Size = "auto"
    """`auto` measures this machine; a size such as `92GiB` is taken as it is."""
    reserve: Size = 4 * 1024**3
    """What `auto` leaves to the rest of the machine."""

    def of(self, total_bytes: int | None) -> int | None:
        """What all runtimes together may hold of so much memory; None if the machine does not tell."""
        if self.memory != "auto":
            return self.memory
        return None if total_bytes is None else max(total_bytes - self.reserve, total_bytes // 4)


class Logging(Section):
    """What is written about requests: never prompts, never answers."""

    format: Literal["auto", "json", "console"] = "auto"
    """`auto` is lines for people on a terminal and JSON elsewhere."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """What is worth a line."""


class Config(Section):
    """Everything that can be set."""

    version: Literal[1] = 1
    """The form of this file."""
    server: Server = Server()
    queue: Queue = Queue()
    scheduling: Scheduling = Scheduling()
    pool: Pool = Pool()
    runtimes: dict[str, RuntimeSettings] = Field(default_factory=dict)
    """Name → engine. The name is also what clients ask for."""
    mcp_servers: dict[ServerName, ServerSettings] = Field(default_factory=dict)
    """Name → downstream MCP server, started only when one of its tools is called."""
    broker: BrokerSettings = BrokerSettings()
    history: Duration = 7 * 86400.0
    """How long finished work stays visible."""
    state_dir: Path | None = None
    """Where the queue and the logs are kept; the platform's state directory if not set."""
    log: Logging = Logging()

    _document: config_reader.Document = pydantic.PrivateAttr(default_factory=config_reader.Document)

    @property
    def files(self) -> tuple[Path, ...]:
        """What it was read from; empty for the built-in one."""
        return tuple(self._document.files)

    @property
    def secrets(self) -> frozenset[str]:
        """Every value that may not be printed: keys, and what came from the environment or a file."""
        found = set(self._document.secrets)
        found |= {key.get_secret_value() for key in self.server.keys.values()}
        for runtime in self.runtimes.values():
            found |= config_secrets.of_runtime(runtime)
        return frozenset(found.union(*(one.secrets() for one in self.mcp_servers.values())))

    @property
    def written(self) -> Mapping[config_reader.KeyPath, str]:
        """The references behind values that came from elsewhere, to be shown in their place."""
        return self._document.written

    def state_path(self, env: Mapping[str, str]) -> Path:
        """The state directory of this configuration."""
        if self.state_dir is None:
            return paths.state_dir(env)
        return self.state_dir.expanduser()


def find(path: Path | None, env: Mapping[str, str]) -> list[Path]:
    """The files that make up the configuration, first match of the search order; none: the built-in one."""
    if path is not None:
        return [path.expanduser()]
    if env.get("LMG_CONFIG"):
        return [Path(env["LMG_CONFIG"]).expanduser()]
    project = Path(paths.PROJECT_FILE)
    if project.exists():
        return [project.absolute()]
    folder = paths.config_dir(env)
    main = folder / "config.yaml"
    return [*([main] if main.exists() else []), *sorted((folder / "conf.d").glob("*.yaml"))]


def load(path: Path | None, env: Mapping[str, str] = os.environ) -> Config:
    """Find, read, merge and validate. Raises `ConfigError` with every problem found, first one first."""
    documents = [config_reader.read(file, env) for file in find(path, env)]
    return validate(config_reader.merge(documents))


def validate(document: config_reader.Document) -> Config:
    """The document as a `Config`; one without runtimes gets the built-in one."""
    if not document.files or "runtimes" not in document.data:
        built_in = config_reader.parse(BUILT_IN, Path("built-in"), {})
        document.data = {**built_in.data, **document.data}
    try:
        config = Config.model_validate_json(config_reader.write_json(document))
    except pydantic.ValidationError as error:
        problems = config_problems.explain(error, document, Config)
        raise ConfigError(problems) from None
    problems = list(_crossed(config, document))
    if problems:
        raise ConfigError(problems)
    config._document = document
    return config


def _crossed(config: Config, document: config_reader.Document) -> Iterator[Problem]:
    """What no single value can get wrong by itself."""
    for name, key in config.server.keys.items():
        if not key.get_secret_value().strip():
            path = ("server", "keys", name)
            yield config_problems.at(
                document, path, f"the key {name!r} is empty", "; give it a value"
            )
    if danger := exposure.danger(config.server.host, config.server.keys.values()):
        yield config_problems.at(document, ("server", "host"), danger, "")
    yield from config_runtimes.problems(config.runtimes, document)
