"""Looking at the gateway, choosing a model, and getting rid of a stuck one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import Field

from coordinator import loop, status
from mcp_server import caller, errors, recommend, results, views
from mcp_server.confirmation import Approval, Confirmations
from mcp_server.info import ServerInfo

READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
ENDS = ToolAnnotations(destructive_hint=True, open_world_hint=False)

Capability = Literal["chat", "completions", "embeddings", "tools", "vision"]


def ask(ctx: Context, runtime: str, confirm: str | None) -> Elicit[Approval] | Approval:
    """Nothing to ask where a token speaks already, and nobody to ask where the client shows no form."""
    if confirm is not None or not caller.can_be_asked(ctx):
        return Approval(approve=False)
    # The same words in every round: an answer belongs to the question as it was put.
    return Elicit(f"Unload {runtime} now? What it is answering will be cut off.", Approval)


@dataclass(frozen=True, slots=True)
class GatewayTools:
    """The tools that speak of the gateway as a whole and of its runtimes."""

    coordinator: loop.Coordinator
    info: ServerInfo
    confirmations: Confirmations
    tool_servers: views.ToolServers

    def register(self, server: MCPServer) -> None:
        """Add them; the list keeps this order."""
        server.add_tool(self.gateway_status, title="Gateway status", annotations=READS)
        server.add_tool(self.list_runtime_models, title="Local models", annotations=READS)
        server.add_tool(self.recommend_local_profile, title="Recommend model", annotations=READS)
        server.add_tool(self.runtime_status, title="Runtime status", annotations=READS)
        server.add_tool(self.force_unload_runtime, title="Force unload", annotations=ENDS)

    async def gateway_status(self) -> Annotated[CallToolResult, results.Status]:
        """Queue, runtimes, memory, tool servers and problems, in one answer."""
        picture = self.coordinator.snapshot()
        return results.reply(views.gateway(picture, self.tool_servers(), self.info.problems()))

    async def list_runtime_models(self) -> Annotated[CallToolResult, results.Models]:
        """Models one can ask for: abilities, context, state, load time, and whether each fits now."""
        return results.reply(views.models(self.coordinator.snapshot()))

    async def recommend_local_profile(
        self,
        prompt_tokens: Annotated[int, Field(ge=0)] = 0,
        needs: list[Capability] | None = None,
        max_wait_s: Annotated[
            float | None, Field(description="patience; unset: soonest", ge=0)
        ] = None,
    ) -> Annotated[CallToolResult, results.Recommendation]:
        """The best model for a task now, why, and what it would unload."""
        want = recommend.Want(prompt_tokens, tuple(needs or ["chat"]), max_wait_s)
        picture = self.coordinator.snapshot()
        advice = recommend.recommend(picture.runtimes, picture.pool_bytes, want)
        return results.reply(_recommendation(advice, want))

    async def runtime_status(
        self, runtime: Annotated[str, Field(description="runtime or model")]
    ) -> Annotated[CallToolResult, results.RuntimeReport]:
        """One runtime: state, work, last error, end of its log."""
        with errors.told():
            spec = self.coordinator.registry.resolve(runtime)
        picture = self.coordinator.snapshot()
        line = next(one for one in picture.runtimes if one.name == spec.name)
        return results.reply(views.report(line, picture, self._log_tail(line)))

    def _log_tail(self, line: status.RuntimeLine) -> Sequence[str]:
        live = self.coordinator.log_tail(line.name, views.LOG_LINES)
        if live or line.last_error is None:
            return live
        tail: Sequence[str] = line.last_error["log_tail"]
        return tail

    async def force_unload_runtime(
        self,
        ctx: Context,
        runtime: str,
        answer: Annotated[ElicitationResult[Approval], Resolve(ask)],
        confirm: Annotated[str | None, Field(description="token from the first call")] = None,
    ) -> Annotated[CallToolResult, results.Unloaded]:
        """Stop a stuck runtime, cutting off its answers. Asks first."""
        with errors.told():
            name = self.coordinator.registry.resolve(runtime).name
            owner, action = caller.owner(ctx), f"unload {name}"
            approved = isinstance(answer, AcceptedElicitation) and answer.data.approve
            if confirm is not None:
                approved = self.confirmations.spend(confirm, owner, action)
                if not approved:
                    raise errors.refuse(
                        "bad_confirm",
                        "the token is not for this, too old or used; call again without",
                    )
            if approved:
                return results.reply(await self._unload(name))
        if caller.can_be_asked(ctx):
            return results.reply(results.Unloaded(done=False, message="declined by the user"))
        return results.reply(
            results.Unloaded(
                done=False,
                message=f"Ask the user whether {name} may be stopped; what it answers is cut off. "
                "If so, call again with `confirm`.",
                confirm=self.confirmations.mint(owner, action),
            )
        )

    async def _unload(self, name: str) -> results.Unloaded:
        unloaded = await self.coordinator.unload(name, now=True)
        cut = unloaded.waits_for_leases
        message = f"{name} was told to stop" + (f"; {cut} answers were cut off" if cut else "")
        return results.Unloaded(done=True, message=message)


def _recommendation(advice: recommend.Advice, want: recommend.Want) -> results.Recommendation:
    others = [
        results.Alternative(
            model=one.runtime.aliases[0], why_not="; ".join(recommend.reasons(one, want)[1:])
        )
        for one in advice.others[:3]
    ]
    others += [
        results.Alternative(model=model, why_not=reason) for model, reason in advice.unfit[:5]
    ]
    best = advice.best
    if best is None:
        why = ["no model here fits; see alternatives for why"]
        return results.Recommendation(why=why, alternatives=others)
    return results.Recommendation(
        model=best.runtime.aliases[0],
        why=recommend.reasons(best, want),
        wait_s=round(best.wait_s, 1),
        unloads=list(best.unloads) or None,
        alternatives=others,
    )
