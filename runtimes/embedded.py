"""The embedded default: llama.cpp from the xllamacpp wheel, with any GGUF file or the hand-made model."""

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread

import runtimes
from runtimes import base, launch, process
from runtimes.settings import EngineRecipe, RuntimeSettings

ENGINE = "embedded"
NOTICE = (
    "A toy written by hand: it says one sentence, whatever you ask. Add a real model to hear sense."
)
TINY_VERSION = 1  # another one whenever the model says or weighs something else
TINY_BYTES = 128 << 20  # measured 40 to 60 MiB
ROOT = Path(runtimes.__file__).parent.parent
"""What has to be on the path of a process that imports this package, in a source tree and in the wheel."""

MAKER = "import sys; sys.path.insert(0, sys.argv.pop(1)); from runtimes.tiny_model import __main__ as m; m.main()"
MAKE_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class EmbeddedLaunch:
    """Starts our own child script; without a configured model it makes one."""

    spec: base.RuntimeSpec
    settings: RuntimeSettings
    recipe: EngineRecipe
    places: launch.Places

    async def prepare(self) -> None:
        """See that the engine and the model are there; the hand-made model is written when it is not."""
        if await to_thread.run_sync(importlib.util.find_spec, "xllamacpp") is None:
            raise launch.Unstartable(
                base.FailureClass.NOT_INSTALLED,
                "the embedded engine is not installed; install local-model-gateway[embedded], "
                "or use `engine: llama-server`",
            )
        if self.settings.model is None:
            await make_tiny(self.model())
        await to_thread.run_sync(launch.check_gguf, self.model())

    def model(self) -> Path:
        """The file that is served."""
        if self.settings.model is None:
            return tiny_path(self.places.models)
        return Path(launch.model_path(self.settings))

    def command(self, port: int, nonce: str) -> process.Command:
        """The child runs as a file, so that it needs nothing of this project on its path."""
        spec, settings = self.spec, self.settings
        argv = [sys.executable, "-P", str(Path(runtimes.__file__).with_name("embedded_child.py"))]
        argv += ["--model", str(self.model()), "--port", str(port), "--alias", spec.upstream_model]
        argv += ["--context", str(spec.context_tokens)] if spec.context_tokens else []
        argv += ["--slots", str(spec.max_concurrency)]
        argv += ["--embeddings"] if "embeddings" in spec.capabilities else []
        argv += ["--heartbeat", str(self.heartbeat()), *settings.args]
        return process.Command(
            argv=argv,
            log=self.places.logs / f"{spec.name}.log",
            cwd=self.places.logs,
            env=dict(settings.env),
            holds_stdin=True,
        )

    def heartbeat(self) -> Path:
        """The child ends a minute after both its stdin and this file have gone quiet."""
        return self.places.logs / f"{self.spec.name}.alive"


def tiny_path(models: Path) -> Path:
    """Where the hand-made model is kept."""
    return models / f"tiny-{TINY_VERSION}.gguf"


async def make_tiny(path: Path, *options: str) -> None:
    """Write a hand-made model, in a process of its own: the gateway never imports numpy."""
    if await anyio.Path(path).exists():
        return
    argv = [sys.executable, "-c", MAKER, str(ROOT), str(path), *options]
    said, ended_well = "it took too long", False
    with anyio.move_on_after(MAKE_TIMEOUT_S):
        made = await process.output(argv)
        said = made.stdout.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1]
        ended_well = made.returncode == 0
    if not ended_well:
        raise launch.Unstartable(
            base.FailureClass.NOT_INSTALLED,
            f"the hand-made model could not be written ({said}); install the extra `embedded`",
        )
