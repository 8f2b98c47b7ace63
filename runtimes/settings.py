"""One runtime as the configuration describes it; `EngineRecipe` is what its engine's recipe adds."""

import enum
import re
from pathlib import PurePath
from typing import Annotated, Literal, Self

import pydantic
from pydantic import ConfigDict, Field, SecretStr, field_validator, model_validator

from runtimes import base
from runtimes.units import Duration, Size

Capability = Literal["chat", "completions", "embeddings", "tools", "vision"]
Alias = Annotated[str, Field(min_length=1, max_length=200)]


class Section(pydantic.BaseModel):
    """Strict: an unknown key is an error, and nothing is converted silently."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True
    )


class RuntimeSettings(Section):
    """One runtime: an engine with a model, started when somebody asks for it."""

    engine: Annotated[str, Field(min_length=1)]
    """A recipe's id, such as `llama-server`; `lmg recipes list` shows them."""
    model: Annotated[str, Field(min_length=1)] | None = None
    """A file, a folder, or the name that the engine itself knows the model by."""
    aliases: list[Alias] = []
    """More names that clients may ask for."""
    upstream_model: str | None = None
    """The model's name in requests to the engine, where it differs from what the recipe says."""
    notice: str | None = None
    """Plain words shown beside the model."""

    memory: Size | None = None
    """What it needs, such as `24GiB`; measured at the first load if not set."""
    context: Annotated[int, Field(ge=256, le=16_777_216)] | None = None
    """Context length in tokens that the engine is started with."""
    max_concurrency: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Answers at the same time; the recipe's own number if not set."""
    capabilities: list[Capability] | None = None
    """What it can do, where the recipe cannot know."""
    pinned: bool = False
    """Never stopped to make room for another model."""
    idle_unload: Duration | Literal["never"] = 600.0
    """Stopped after this long without work."""
    load_timeout: Duration = 900.0
    """How long a load may make no progress."""
    stop_timeout: Duration = 30.0
    """How long the engine may take to end by itself before it is killed."""
    health_every: Duration | None = None
    """How often a ready engine is asked whether it is well; the recipe's own pace if not set."""
    health_timeout: Duration | None = None
    """How long one such question may go unanswered; three in a row end the engine."""

    cmd: Annotated[list[str], Field(min_length=1)] | None = None
    """The whole command in place of the recipe's, as a list; `{port}`, `{model}` and the like are filled in."""
    args: list[str] = []
    """More arguments, after the recipe's own."""
    executable: str | None = None
    """The program in place of the recipe's, as an absolute path or a name on the PATH."""
    env: dict[str, str] = {}
    """More environment variables."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """A fixed port; any free one if not set."""

    url: str | None = None
    """Where a server that we do not start listens, such as `http://127.0.0.1:11434`."""
    api_key: SecretStr | None = None
    """What that server asks for; best as `${env:…}` or `${file:…}`."""
    unit: str | None = None
    """A systemd unit or a launchd label that starts and stops it."""
    start_cmd: Annotated[list[str], Field(min_length=1)] | None = None
    """What starts a service, as a list."""
    stop_cmd: Annotated[list[str], Field(min_length=1)] | None = None
    """What stops it."""
    status_cmd: Annotated[list[str], Field(min_length=1)] | None = None
    """What exits 0 while it runs."""
    allow_unmanaged: bool = False
    """Use a model server on this machine that nobody here starts or stops, and whose memory nobody counts."""

    @field_validator("cmd", "start_cmd", "stop_cmd", "status_cmd", "args", mode="before")
    @classmethod
    def _no_shell_strings(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError(
                "a command is a list of words, one for each argument, never one string"
            )
        return value

    @field_validator("url")
    @classmethod
    def _plain_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not re.fullmatch(r"https?://[^/@\s?#]+(/[^@\s?#]*)?", value):
            raise ValueError("write it like http://127.0.0.1:8080, without user, query or fragment")
        return value.rstrip("/")

    @field_validator("model", "aliases")
    @classmethod
    def _no_options(cls, value: object) -> object:
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and (text.startswith("-") or not text.isprintable()):
                raise ValueError(f"{text!r} starts with '-' or has unprintable characters")
        return value

    @property
    def idle_unload_s(self) -> float | None:
        """Seconds, or None for never."""
        return None if self.idle_unload == "never" else self.idle_unload


class LifecycleKind(enum.StrEnum):
    """How an engine is started and stopped."""

    PROCESS = "process"
    EMBEDDED = "embedded"
    SERVICE = "service"
    HTTP_SWAP = "http_swap"
    OLLAMA = "ollama"
    ONESHOT = "oneshot"
    REMOTE = "remote"


class Ready(Section):
    """How to see that an engine is ready: never by a status alone, where the engine says more."""

    path: str = "/health"
    status: int = 200
    body: dict[str, str] = {}
    """Dotted path in the JSON answer → the text that must be there."""
    text: str | None = None
    """What a plain answer must contain."""
    models_path: str | None = "/v1/models"
    """Where the model's id must be listed; nothing when the engine does not list it."""


class Call(Section):
    """One HTTP request of a load or unload."""

    method: Literal["GET", "POST"] = "POST"
    path: str
    json_body: Annotated[dict[str, object], Field(alias="json")] = {}
    """Values may hold placeholders: {model}, {context}, {slots}, {instance}."""
    streams_progress: bool = False
    """The answer is a stream of events with the load's progress."""
    tolerate: list[int] = []
    """Statuses that also mean that it worked ("nothing was loaded")."""


class Loaded(Section):
    """Where an engine says which models it holds."""

    path: str
    rows: str = ""
    """Dotted path of the list in the answer; empty when the answer is one object."""
    id: str = "id"
    """Dotted path of the model's name in a row; empty where the server only ever has the one."""
    instance: str | None = None
    """Dotted path of what unload wants to hear, if it is not the name."""
    only_if: str | None = None
    """Dotted path that must hold something for the row to count as loaded; `path=word`: just that word."""
    absent: list[str] = []
    """Names that mean that nothing is loaded."""
    prefix: str = ""
    """What the engine puts in front of the name."""
    size: str | None = None
    """Dotted path of the bytes it holds."""


class Swap(Section):
    """Load and unload over HTTP, for servers that stay up while models come and go."""

    load: Call
    unload: Call
    loaded: Loaded | None = None


class ProgressPattern(Section):
    """A line of the engine's log that tells how far a load is."""

    pattern: str
    """A regular expression with the group `fraction`, `percent`, or `done` and `total`; or none of them."""
    phase: str = "weights"

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        return _regular(value)


class FailurePattern(Section):
    """A line of the engine's log that tells why it failed."""

    pattern: str
    failure: Annotated[base.FailureClass, Field(alias="class", strict=False)]

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        return _regular(value)


class QuirkSettings(Section):
    """`runtimes.base.Quirks`, as a recipe writes it."""

    health_path: str = "/health"
    sends_done: bool = True
    usage_in_stream: bool = True
    strict_fields: bool = False
    chat_path: str = "/v1/chat/completions"
    completions_path: str | None = "/v1/completions"
    embeddings_path: str | None = "/v1/embeddings"
    prompt_progress: bool = False
    tokenize_path: str | None = None

    def quirks(self) -> base.Quirks:
        """The same, for the rest of the gateway."""
        return base.Quirks(**self.model_dump())


class EngineRecipe(Section):
    """The `engine:` block of a recipe: everything that makes two lines of configuration enough."""

    lifecycle: Annotated[LifecycleKind, Field(strict=False)]
    argv: list[str] = []
    """The command. Filled in: {port}, {model}, {file}, {stem} and {folder} of its path, {context}, {slots},
    {total} (context times slots), {alias}, {name}, {nonce} (a secret of this start), {python}, {oneshot}."""
    with_context: list[str] = []
    """Added when there is a context length, configured or the recipe's own."""
    with_slots: list[str] = []
    """Added always where the engine has slots."""
    with_embeddings: list[str] = []
    """Added when the runtime has the capability `embeddings`."""
    default_context: Annotated[int, Field(ge=256)] | None = None
    """For engines that would otherwise take all that the model was trained with."""
    env: dict[str, str] = {}
    model_is: Literal["gguf", "folder", "name", "path_or_name", "none"] = "path_or_name"
    """What is checked before anything is started."""
    upstream_model: str = "{alias}"
    """What the engine calls the model in requests and in its list."""
    ready: Ready = Ready()
    swap: Swap | None = None
    default_url: str | None = None
    """Where the engine listens if nobody says otherwise; for servers that we do not start."""
    headers: dict[str, str] = {}
    """Sent with each request when a key is configured; {key} is the key."""
    max_concurrency: Annotated[int, Field(ge=1)] = 1
    capabilities: list[Capability] = ["chat", "completions"]
    quirks: QuirkSettings = QuirkSettings()
    progress: list[ProgressPattern] = []
    failures: list[FailurePattern] = []
    uses_gpu: bool = True
    health_every: Duration = 5.0
    health_timeout: Duration = 10.0
    health_strikes: Annotated[int, Field(ge=1)] = 3
    notice: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.lifecycle in (LifecycleKind.PROCESS, LifecycleKind.ONESHOT) and not self.argv:
            raise ValueError(f"a recipe of kind {self.lifecycle} needs an argv")
        if self.lifecycle is LifecycleKind.HTTP_SWAP and self.swap is None:
            raise ValueError("a recipe of kind http_swap needs a swap block")
        if self.argv and PurePath(self.argv[0]).name != self.argv[0]:
            raise ValueError("a recipe names a program, never a path")
        return self


def _regular(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return value
