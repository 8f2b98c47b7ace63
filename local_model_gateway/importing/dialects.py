"""How each engine's command line says what a runtime's section says: data, no code for a single engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Dialect:
    """One engine's options, by what they mean; the rest is carried as it stands."""

    engine: str
    """A recipe's id."""
    model: tuple[str, ...] = ("--model",)
    positional: bool = False
    """The model may stand by itself."""
    name: tuple[str, ...] = ()
    """What the engine calls the model in its list."""
    slots: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    shared_context: bool = False
    """The context is divided among the slots, ours is what each gets."""
    ours: tuple[str, ...] = ("--host", "--port")
    """Options with a value that the gateway says anew at each start."""
    switches: tuple[str, ...] = ()
    """Options without a value that the recipe has too."""
    said: tuple[str, ...] = ("--model", "{model}", "--host", "127.0.0.1", "--port", "{port}")
    """What stands for `ours` where the recipe's own command cannot be used."""
    folder: tuple[str, ...] = ()
    """Where the engine looks for the model by its name."""
    values: tuple[str, ...] = ()
    """Further options with a value, where a model that stands by itself could be mistaken for one."""
    impossible: Mapping[str, str] = field(default_factory=dict)
    """Options that the gateway cannot live with, and why."""


LLAMA_SERVER = Dialect(
    "llama-server",
    model=("-m", "--model"),
    name=("-a", "--alias"),
    slots=("-np", "--parallel", "--n-parallel"),
    context=("-c", "--ctx-size"),
    shared_context=True,
    ours=("--host", "--port", "--api-key", "--api-key-file"),
    switches=("--metrics", "--slots"),
    said=(
        *("-m", "{model}", "--host", "127.0.0.1", "--port", "{port}", "-a", "{alias}"),
        *("--metrics", "--slots"),
    ),
    impossible={
        "--api-prefix": "it moves the engine's addresses",
        "--ssl-key-file": "the gateway speaks plain HTTP to engines on loopback",
        "--models-dir": "it chooses among models by itself; use the recipe llama-server-router",
        "--models-preset": "it chooses among models by itself; use `lmg import` for that file",
    },
)
VLLM = Dialect(
    "vllm",
    positional=True,
    name=("--served-model-name",),
    slots=("--max-num-seqs",),
    context=("--max-model-len",),
    ours=("--host", "--port", "--api-key"),
    said=(
        *("--model", "{model}", "--host", "127.0.0.1", "--port", "{port}"),
        *("--served-model-name", "{alias}"),
    ),
    impossible={
        "--uds": "the gateway reaches engines by a port of loopback",
        "--ssl-keyfile": "the gateway speaks plain HTTP to engines on loopback",
        "--root-path": "it moves the engine's addresses",
        "--headless": "it is a part of an engine that runs on several machines",
    },
)
SGLANG = Dialect(
    "sglang",
    model=("--model-path", "--model"),
    name=("--served-model-name",),
    slots=("--max-running-requests",),
    context=("--context-length",),
    ours=("--host", "--port", "--api-key", "--admin-api-key"),
    said=(
        *("--model-path", "{model}", "--host", "127.0.0.1", "--port", "{port}"),
        *("--served-model-name", "{alias}"),
    ),
    impossible={"--nnodes": "it is a part of an engine that runs on several machines"},
)
MLX = Dialect("mlx-lm")
KOBOLDCPP = Dialect(
    "koboldcpp",
    positional=True,
    context=("--contextsize",),
    ours=("--host", "--port", "--password"),
    switches=("--skiplauncher", "--quiet"),
    said=(
        *("--model", "{model}", "--host", "127.0.0.1", "--port", "{port}"),
        *("--skiplauncher", "--quiet"),
    ),
    impossible={
        "--config": "its settings are in another file; write the options out",
        "--ssl": "the gateway speaks plain HTTP to engines on loopback",
        "--admin": "it changes models by itself; use the recipe koboldcpp-admin",
    },
)
LOCALAI = Dialect(
    "localai",
    model=(),
    positional=True,
    ours=("--address", "--api-keys", "--max-active-backends"),
    switches=("--single-active-backend",),
    said=("--address", "127.0.0.1:{port}", "--models-path", "{folder}"),
    folder=("--models-path",),
    values=("--threads", "--context-size", "--backends-path"),
)
RAMALAMA = Dialect(
    "ramalama",
    model=(),
    positional=True,
    context=("--ctx-size", "-c"),
    ours=("--host", "--port", "-p"),
    said=("--host", "127.0.0.1", "--port", "{port}", "{model}"),
    values=(
        *("--threads", "-t", "--temp", "--ngl", "--name", "-n", "--runtime-args", "--device"),
        *("--cache-reuse", "--max-tokens", "--image", "--network", "--pull", "--seed", "--webui"),
        *("--api", "--backend", "--env", "--oci-runtime", "--model-draft", "--selinux"),
    ),
    impossible={"-d": "it goes to the background", "--detach": "it goes to the background"},
)
MAX = Dialect(
    "modular-max",
    model=("--model", "--model-path"),
    slots=("--max-batch-size",),
    context=("--max-length",),
)
TRANSFORMERS = Dialect(
    "transformers",
    model=("--force-model",),
    positional=True,
    said=("{model}", "--host", "127.0.0.1", "--port", "{port}"),
)

Head = tuple[Sequence[str], Dialect, bool]
HEADS: Sequence[Head] = (
    # What a command begins with, and whether the recipe's own begins the same way.
    (("llama-server",), LLAMA_SERVER, True),
    (("vllm", "serve"), VLLM, True),
    (("mlx_lm.server",), MLX, True),
    (("mlx_lm", "server"), MLX, False),
    (("koboldcpp",), KOBOLDCPP, True),
    (("koboldcpp.py",), KOBOLDCPP, True),
    (("local-ai", "run"), LOCALAI, True),
    (("local-ai",), LOCALAI, False),
    (("ramalama", "--nocontainer", "serve"), RAMALAMA, True),
    (("ramalama", "serve"), RAMALAMA, False),
    (("max", "serve"), MAX, True),
    (("transformers", "serve"), TRANSFORMERS, True),
    (("sglang", "serve"), SGLANG, False),
    (("python", "-m", "sglang.launch_server"), SGLANG, True),
    (("python", "-m", "mlx_lm.server"), MLX, False),
    (("python", "-m", "mlx_lm", "server"), MLX, False),
    (("python", "-m", "vllm.entrypoints.openai.api_server"), VLLM, False),
    (("python", "-m", "vllm.entrypoints.cli.main", "serve"), VLLM, False),
)
