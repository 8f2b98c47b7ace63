"""The front matter of a recipe, checked strictly where the file enters."""

import enum
from typing import Annotated, Any, Literal

import pydantic
from pydantic import ConfigDict, Field


class Kind(enum.StrEnum):
    """What a recipe is about; also the folder that it lies in, with an `s`."""

    CLIENT = "client"
    ENGINE = "engine"
    MODEL = "model"
    SERVICE = "service"


class _Strict(pydantic.BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Detect(_Strict):
    """One sign that the thing is on this machine; any one is enough."""

    command: str | None = None
    """A program on the PATH."""
    path: str | None = None
    """A file or folder; `~` is the home."""
    port: int | None = None
    """A loopback port that answers."""


class FileStep(_Strict):
    """Write a file of our own; it must not exist, or must be what we wrote before."""

    do: Literal["file"]
    path: str
    block: str


class MergeStep(_Strict):
    """Put the block's keys into a file that belongs to somebody else; backed up, and shown before."""

    do: Literal["merge"]
    path: str
    format: Literal["json", "toml", "yaml"]
    block: str
    keys: tuple[tuple[str, ...], ...]
    """What the block adds, as paths; undoing removes these and nothing else."""


class CommandStep(_Strict):
    """Run a program, as a list of words; no shell ever reads it."""

    do: Literal["command"]
    run: tuple[str, ...]
    undo: tuple[str, ...]
    env: dict[str, str] = {}
    changes: str | None = None
    """The file that the program writes, so that it can be backed up first."""


class EnvStep(_Strict):
    """Set variables for a process that we launch, and for nothing else."""

    do: Literal["env"]
    set: dict[str, str]


class ManualStep(_Strict):
    """Something that only a person can do, in their words."""

    do: Literal["manual"]
    text: str
    undo: str


Step = Annotated[
    FileStep | MergeStep | CommandStep | EnvStep | ManualStep, Field(discriminator="do")
]


class CommandCheck(_Strict):
    """A read-only command whose output shows that the recipe worked."""

    run: tuple[str, ...]
    expect: str


class RequestCheck(_Strict):
    """A request that the client will make, made by us first."""

    request: Literal["chat", "responses", "messages", "embeddings", "mcp"]
    expect_status: int = 200


class McpShape(_Strict):
    """Where this client keeps an MCP server in its configuration, and what it calls the parts."""

    block: str
    """The block that shows it."""
    format: Literal["json", "toml", "yaml"]
    at: tuple[str, ...]
    """Path of the map (or list) of servers."""
    listed: bool = False
    """A list of entries with a `name`, instead of a map from name to entry."""
    url: tuple[str, ...]
    """Path of the address within one entry."""
    type: tuple[str, str] | None = None
    """A key and the one value that this client wants there."""
    headers: tuple[str, ...] | None = None
    """Path of the header map within one entry."""
    bearer_env: str | None = None
    """The key that names the environment variable with the token."""
    stdio: bool = False
    """This client starts a program and cannot take an address: `url` is then looked for in its arguments."""
    not_here: dict[str, str] = {}
    """Keys that other clients use for the same thing, and what to say when one is found."""


class OpenAIShape(_Strict):
    """Where this client keeps an OpenAI-compatible provider."""

    block: str
    format: Literal["json", "toml", "yaml"]
    at: tuple[str, ...]
    """Path of the provider; `*` is any one key or list place."""
    base_url: tuple[str, ...]
    wants: dict[str, str] = {}
    """Keys of the provider that must have exactly this value."""


class Tested(_Strict):
    """What the recipe was last run with, or read from."""

    with_: Annotated[str, Field(alias="with")]
    by: Literal["run", "documentation", "ci-fake"]


class FrontMatter(_Strict):
    """Everything above the second `---` of a recipe."""

    recipe: Literal[1]
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    kind: Kind
    title: str
    summary: Annotated[str, Field(max_length=160)]
    docs: str | None = None
    detect: tuple[Detect, ...] = ()
    moved: dict[str, str] = {}
    """Variables by which a user moves a folder of this client, and the folder that each stands for."""
    versions: dict[str, str] = {}
    needs: tuple[str, ...] = ()
    min_context: int | None = None
    platforms: tuple[Literal["linux", "macos", "windows"], ...] = ()
    apply: tuple[Step, ...] = ()
    secrets: dict[str, str] = {}
    """Environment variables that the recipe refers to, and what goes there. Never a value."""
    launch: tuple[str, ...] = ()
    launch_speaks: str | None = None
    """The path that a launched session asks its model at, where not every gateway has it."""
    verify: tuple[CommandCheck | RequestCheck, ...] = ()
    mcp: McpShape | None = None
    openai: OpenAIShape | None = None
    engine: dict[str, Any] = {}  # Any: its owner checks it
    """For engines: what `runtimes.settings.EngineRecipe` describes."""
    runtime: dict[str, Any] = {}  # Any: the configuration checks it
    """For models: the section that goes under `runtimes:`."""
    enabled: bool = True
    """False for presets that are too heavy to switch on unasked."""
    tested: Tested | None = None
