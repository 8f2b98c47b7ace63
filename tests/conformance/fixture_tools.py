"""The tools that the conformance suite calls by name, registered beside our own.

Some send logs and samples, which newer revisions deprecate; the older ones are still tested for them.
"""

import json
from collections.abc import Callable
from typing import Any, Literal

import anyio
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp.types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    AudioContent,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    SamplingMessage,
    TextContent,
    TextResourceContents,
)
from pydantic import BaseModel, Field

from mcp_server.server import GatewayServer

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmM"
    "IQAAAABJRU5ErkJggg=="
)
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA="
PAUSE_S = 0.05


class User(BaseModel):
    """What `test_elicitation` asks for."""

    username: str = Field(description="User's response")
    email: str = Field(description="User's email address")


class Defaults(BaseModel):
    """Every primitive with a default."""

    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: Literal["active", "inactive", "pending"] = "active"
    verified: bool = True


def text(words: str) -> TextContent:
    """One text block."""
    return TextContent(type="text", text=words)


def embedded(uri: str, mime_type: str, words: str) -> EmbeddedResource:
    """One embedded resource."""
    contents = TextResourceContents(uri=uri, mime_type=mime_type, text=words)
    return EmbeddedResource(type="resource", resource=contents)


def image() -> ImageContent:
    """One red pixel."""
    return ImageContent(type="image", data=PNG, mime_type="image/png")


def register(server: GatewayServer) -> None:
    """Add them all."""
    for tool in (*_CONTENT, *_TALKING, *_ASKING, *_CHANGING):
        server.add_tool(tool, description=f"Fixture: {tool.__name__}", structured_output=False)


def test_simple_text() -> str:
    return "This is a simple text response for testing."


def test_image_content() -> list[ContentBlock]:
    return [image()]


def test_audio_content() -> list[ContentBlock]:
    return [AudioContent(type="audio", data=WAV, mime_type="audio/wav")]


def test_embedded_resource() -> list[ContentBlock]:
    words = "This is an embedded resource content."
    return [embedded("test://embedded-resource", "text/plain", words)]


def test_multiple_content_types() -> list[ContentBlock]:
    data = json.dumps({"test": "data", "value": 123})
    return [
        text("Multiple content types test:"),
        image(),
        embedded("test://mixed-content-resource", "application/json", data),
    ]


def test_error_handling() -> str:
    raise ToolError("This tool intentionally returns an error for testing")


_CONTENT: tuple[Callable[..., Any], ...] = (
    test_simple_text,
    test_image_content,
    test_audio_content,
    test_embedded_resource,
    test_multiple_content_types,
    test_error_handling,
)


async def test_tool_with_logging(ctx: Context) -> str:
    for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.info(words)
        await anyio.sleep(PAUSE_S)
    return "logged"


async def test_logging_tool(ctx: Context) -> str:
    await ctx.info("Only for those who asked")
    return "logged"


async def test_tool_with_progress(ctx: Context) -> str:
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100)
        await anyio.sleep(PAUSE_S)
    return "done"


_TALKING: tuple[Callable[..., Any], ...] = (
    test_tool_with_logging,
    test_logging_tool,
    test_tool_with_progress,
)


async def test_sampling(prompt: str, ctx: Context) -> str:
    message = SamplingMessage(role="user", content=text(prompt))
    result = await ctx.session.create_message(messages=[message], max_tokens=100)
    content = result.content
    return f"LLM response: {content.text if isinstance(content, TextContent) else content}"


async def test_elicitation(message: str, ctx: Context) -> str:
    return f"User response: {await _asked(ctx, message, User)}"


async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    return f"Elicitation completed: {await _asked(ctx, 'Review the defaults', Defaults)}"


async def _asked(ctx: Context, message: str, schema: type[BaseModel]) -> str:
    result = await ctx.elicit(message, schema)
    content: dict[str, Any] = result.data.model_dump() if result.action == "accept" else {}
    return f"action={result.action}, content={json.dumps(content)}"


ENUMS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {
            "type": "string",
            "oneOf": [
                {"const": "value1", "title": "First Option"},
                {"const": "value2", "title": "Second Option"},
                {"const": "value3", "title": "Third Option"},
            ],
        },
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {
            "type": "array",
            "items": {"type": "string", "enum": ["option1", "option2", "option3"]},
        },
        "titledMulti": {
            "type": "array",
            "items": {
                "anyOf": [
                    {"const": "value1", "title": "First Choice"},
                    {"const": "value2", "title": "Second Choice"},
                    {"const": "value3", "title": "Third Choice"},
                ]
            },
        },
    },
    "required": [],
}


async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    result = await ctx.session.elicit_form("Choose", ENUMS, related_request_id=ctx.request_id)
    content = json.dumps(result.content or {})
    return f"Elicitation completed: action={result.action}, content={content}"


def test_missing_capability(ctx: Context) -> str:
    capabilities = ctx.client_capabilities
    if capabilities is None or capabilities.sampling is None:
        data: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, "sampling is needed", data)
    return "sampling was declared"


_ASKING: tuple[Callable[..., Any], ...] = (
    test_sampling,
    test_elicitation,
    test_elicitation_sep1034_defaults,
    test_elicitation_sep1330_enums,
    test_missing_capability,
)


async def test_trigger_tool_change(ctx: Context) -> str:
    await ctx.notify_tools_changed()
    return "told"


async def test_trigger_prompt_change(ctx: Context) -> str:
    await ctx.notify_prompts_changed()
    return "told"


_CHANGING: tuple[Callable[..., Any], ...] = (test_trigger_tool_change, test_trigger_prompt_change)
