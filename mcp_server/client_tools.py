"""How to connect other clients: rendered and checked from the recipes, without a key in any answer."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, assert_never

from anyio import to_thread
from mcp.server.mcpserver import MCPServer
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import Field

from coordinator import loop
from mcp_server import errors, results
from mcp_server.info import ServerInfo
from recipes import front_matter, loader, pasted, render

READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)


@dataclass(frozen=True, slots=True)
class ClientTools:
    """The tools that speak of clients' configurations."""

    coordinator: loop.Coordinator
    info: ServerInfo

    def register(self, server: MCPServer) -> None:
        """Add them; the list keeps this order."""
        server.add_tool(self.generate_client_config, title="Client config", annotations=READS)
        server.add_tool(self.validate_client_config, title="Check client config", annotations=READS)

    async def generate_client_config(
        self,
        client: Annotated[str, Field(description="such as claude-code, codex, opencode")],
        model: str | None = None,
    ) -> Annotated[CallToolResult, results.ClientConfig]:
        """How to connect a client to this gateway: snippets and steps, keys as variables only."""
        with errors.told():
            recipe = await _recipe(client)
            rendered = render.render(recipe, self._values(model))
        return results.reply(client_config(rendered))

    def _values(self, model: str | None) -> render.Values:
        """With a model that exists; the first one that can chat, if none is wished for."""
        registry = self.coordinator.registry
        if model is not None:
            spec = registry.resolve(model)
        else:
            specs = sorted(registry.specs(), key=lambda one: "chat" not in one.capabilities)
            if not specs:
                return self._filled_with("MODEL", None)
            spec = specs[0]
        return self._filled_with(model or spec.aliases[0], spec.context_tokens)

    def _filled_with(self, model: str, context_tokens: int | None) -> render.Values:
        """A gateway that asks for no key has none written anywhere."""
        return render.Values(
            self.info.base_url,
            model,
            context_tokens or render.ASSUMED_TOKENS,
            key_env=self.info.key_env,
            with_key=self.info.requires_key,
        )

    async def validate_client_config(
        self,
        client: str,
        config: Annotated[str, Field(description="the text of its configuration file")],
    ) -> Annotated[CallToolResult, results.Validation]:
        """What is wrong with a client's configuration for this gateway, and why."""
        with errors.told():
            recipe = await _recipe(client)
        aliases = [alias for spec in self.coordinator.registry.specs() for alias in spec.aliases]
        target = pasted.Target(self.info.base_url, aliases, self.info.requires_key)
        found = pasted.check(recipe, config, target)
        return results.reply(
            results.Validation(
                ok=all(one.level != "error" for one in found),
                client=client,
                findings=[
                    results.Problem(level=one.level, code=one.code, message=one.message)
                    for one in found
                ],
            )
        )


async def _recipe(client: str) -> loader.Recipe:
    """Files are read in a thread, and once."""
    return await to_thread.run_sync(loader.find, front_matter.Kind.CLIENT, client)


def client_config(rendered: render.Rendered) -> results.ClientConfig:
    """`generate_client_config`, also for whoever else shows a recipe."""
    front = rendered.recipe.front
    blocks = rendered.recipe.blocks
    return results.ClientConfig(
        client=front.title,
        summary=front.summary,
        snippets=[
            results.Snippet(name=name, language=blocks[name].language, text=text)
            for name, text in rendered.blocks.items()
        ],
        steps=[step_words(step) for step in rendered.steps],
        secrets=rendered.secrets,
        launch=shlex.join(rendered.launch) or None,
        min_context=front.min_context,
    )


def step_words(step: front_matter.Step) -> str:
    """One step, as a person would be told."""
    match step:
        case front_matter.FileStep():
            return f"Write snippet `{step.block}` to {step.path}"
        case front_matter.MergeStep():
            keys = ", ".join(".".join(path) for path in step.keys)
            return f"Add {keys} from snippet `{step.block}` to {step.path}, keeping all else"
        case front_matter.CommandStep():
            return f"Run: {_command(step.run)}"
        case front_matter.EnvStep():
            names = ", ".join(step.set)
            return f"For one session only: `lmg launch` sets {names}"
        case front_matter.ManualStep():
            return step.text
        case _:
            assert_never(step)


def _command(words: Sequence[str]) -> str:
    """Quoted for a shell, but so that `${NAME}` is still the shell's to fill in."""
    return " ".join(f'"{word}"' if "${" in word else shlex.quote(word) for word in words)
