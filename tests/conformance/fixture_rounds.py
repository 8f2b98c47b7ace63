"""Fixture tools and a prompt that ask the client in rounds, as the stateless era does."""

from typing import Any

from mcp.server.mcpserver import Context
from mcp.types import (
    CallToolResult,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    SamplingMessage,
)

from mcp_server.server import GatewayServer
from tests.conformance.fixture_tools import text

Answer = CallToolResult | InputRequiredResult


def register(server: GatewayServer) -> None:
    """Add them all."""
    tools = (
        test_input_required_result_elicitation,
        test_input_required_result_sampling,
        test_input_required_result_list_roots,
        test_input_required_result_request_state,
        test_input_required_result_tampered_state,
        test_input_required_result_multiple_inputs,
        test_input_required_result_multi_round,
        test_input_required_result_capabilities,
        test_streaming_elicitation,
    )
    for tool in tools:
        server.add_tool(tool, description=f"Fixture: {tool.__name__}", structured_output=False)
    server.prompt()(test_input_required_result_prompt)


def form(message: str, field: str, kind: str = "string") -> ElicitRequest:
    """A question with one field."""
    schema = {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(question: str, most: int) -> CreateMessageRequest:
    """A question for the client's model."""
    message = SamplingMessage(role="user", content=text(question))
    return CreateMessageRequest(
        params=CreateMessageRequestParams(messages=[message], max_tokens=most)
    )


def said(ctx: Context, key: str, field: str) -> Any:
    """The field of an accepted form, or None."""
    answer = (ctx.input_responses or {}).get(key)
    if isinstance(answer, ElicitResult) and answer.action == "accept" and answer.content:
        return answer.content.get(field)
    return None


def done(words: str) -> CallToolResult:
    """The end."""
    return CallToolResult(content=[text(words)])


def ask(state: str | None = None, **requests: InputRequest) -> InputRequiredResult:
    """Another round."""
    return InputRequiredResult(input_requests=requests, request_state=state)


def test_input_required_result_elicitation(ctx: Context) -> Answer:
    name = said(ctx, "user_name", "name")
    if name is None:
        return ask(user_name=form("What is your name?", "name"))
    return done(f"Hello, {name}!")


def test_input_required_result_sampling(ctx: Context) -> Answer:
    answer = (ctx.input_responses or {}).get("capital_question")
    if not isinstance(answer, CreateMessageResult):
        return ask(capital_question=sample("What is the capital of France?", 100))
    return done(f"The model said: {answer.content}")


def test_input_required_result_list_roots(ctx: Context) -> Answer:
    answer = (ctx.input_responses or {}).get("client_roots")
    if not isinstance(answer, ListRootsResult):
        return ask(client_roots=ListRootsRequest())
    return done("Roots: " + ", ".join(str(root.uri) for root in answer.roots))


def test_input_required_result_request_state(ctx: Context) -> Answer:
    if ctx.request_state != "round-1" or said(ctx, "confirm", "ok") is None:
        return ask("round-1", confirm=form("Please confirm", "ok", "boolean"))
    return done("state-ok")


def test_input_required_result_tampered_state(ctx: Context) -> Answer:
    return test_input_required_result_request_state(ctx)


def test_input_required_result_multiple_inputs(ctx: Context) -> Answer:
    answers = ctx.input_responses or {}
    if ctx.request_state is None or not {"user_name", "greeting", "client_roots"} <= set(answers):
        return ask(
            "three-questions",
            user_name=form("What is your name?", "name"),
            greeting=sample("Generate a greeting", 50),
            client_roots=ListRootsRequest(),
        )
    return done(f"All three: {said(ctx, 'user_name', 'name')}")


def test_input_required_result_multi_round(ctx: Context) -> Answer:
    if ctx.request_state is None:
        return ask("step-1", step1=form("Step 1: What is your name?", "name"))
    if ctx.request_state == "step-1":
        name = said(ctx, "step1", "name")
        return ask(f"step-2:{name}", step2=form("Step 2: What is your favorite color?", "color"))
    name = ctx.request_state.partition(":")[2]
    return done(f"{name} likes {said(ctx, 'step2', 'color')}")


def test_input_required_result_capabilities(ctx: Context) -> Answer:
    capabilities = ctx.client_capabilities
    requests: dict[str, InputRequest] = {}
    if capabilities is not None and capabilities.elicitation is not None:
        requests["user_name"] = form("What is your name?", "name")
    if capabilities is not None and capabilities.sampling is not None:
        requests["greeting"] = sample("Generate a greeting", 50)
    if not requests:
        return done("nothing to ask with")
    return InputRequiredResult(input_requests=requests)


def test_streaming_elicitation(ctx: Context) -> Answer:
    return test_input_required_result_elicitation(ctx)


def test_input_required_result_prompt(ctx: Context) -> Any:
    """Fixture: a prompt that asks first."""
    context = said(ctx, "user_context", "context")
    if context is None:
        return ask(user_context=form("What context should the prompt use?", "context"))
    return f"Use this context: {context}"
