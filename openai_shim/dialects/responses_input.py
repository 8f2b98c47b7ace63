"""A Responses request as the chat request that every engine understands."""

from collections.abc import Mapping
from typing import Any

import pydantic_core

from openai_shim.errors import InvalidRequest, UnsupportedFeature

SEPARATOR = "__"
"""Between a namespace and a tool's own name, where engines know one flat name only."""

_STATEFUL = ("previous_response_id", "conversation", "prompt")
_SAME_NAME = (
    "frequency_penalty",
    "logit_bias",
    "metadata",
    "n_probs",
    "parallel_tool_calls",
    "presence_penalty",
    "seed",
    "stop",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "user",
)
_OWN = frozenset(
    {
        "background",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "stream_options",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "truncation",
        *_STATEFUL,
    }
)


def chat_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """The chat request; raises for what needs state that is not kept here."""
    for name in _STATEFUL:
        if given.get(name) is not None:
            raise UnsupportedFeature(
                f"`{name}` needs stored conversations, and this gateway keeps none: send the whole `input`.",
                name,
            )
    if given.get("background") is True:
        raise UnsupportedFeature(
            "`background` is not kept here; send `Prefer: respond-async` and ask /v1/jobs.",
            "background",
        )
    fields = {name: value for name, value in given.items() if name not in _OWN}
    fields["messages"] = _messages(given)
    if given.get("max_output_tokens") is not None:
        fields["max_tokens"] = given["max_output_tokens"]
    if given.get("top_logprobs"):
        fields["logprobs"], fields["top_logprobs"] = True, given["top_logprobs"]
    _tools(given, fields)
    _text_format(given.get("text"), fields)
    reasoning = given.get("reasoning")
    if isinstance(reasoning, dict) and isinstance(reasoning.get("effort"), str):
        fields["reasoning_effort"] = reasoning["effort"]
    return fields


def _text_format(text: object, fields: dict[str, Any]) -> None:
    wanted = text.get("format") if isinstance(text, dict) else None
    if not isinstance(wanted, dict):
        return
    match wanted.get("type"):
        case "json_schema":
            schema = {key: value for key, value in wanted.items() if key != "type"}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        case "json_object":
            fields["response_format"] = {"type": "json_object"}


# ---- tools -------------------------------------------------------------------------------------


def _tools(given: Mapping[str, Any], fields: dict[str, Any]) -> None:
    flat = [_as_function(tool, name) for tool, name, _ in named_tools(given.get("tools"))]
    if not flat:
        fields.pop("parallel_tool_calls", None)
        return
    fields["tools"] = flat
    choice = _tool_choice(given.get("tool_choice"))
    if choice is not None:
        fields["tool_choice"] = choice


def named_tools(tools: object) -> list[tuple[dict[str, Any], str, str | None]]:
    """Every tool that an engine can call: its definition, its flat name, its namespace.

    What only a vendor's own servers can run (web search, file search, …) is left out.
    """
    found: list[tuple[dict[str, Any], str, str | None]] = []
    for number, tool in enumerate(tools if isinstance(tools, list) else ()):
        where = f"tools[{number}]"
        if not isinstance(tool, dict):
            raise InvalidRequest(f"`{where}` must be an object.", where)
        if tool.get("type") == "namespace":
            space = _name(tool, where)
            inner = tool.get("tools")
            ours = [one for one in inner if _callable(one)] if isinstance(inner, list) else []
            found.extend((one, space + SEPARATOR + _name(one, where), space) for one in ours)
        elif _callable(tool):
            found.append((tool, _name(tool, where), None))
    return found


def _callable(tool: object) -> bool:
    return isinstance(tool, dict) and tool.get("type") in {"function", "custom"}


def _name(tool: Mapping[str, Any], where: str) -> str:
    name = tool.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"`{where}.name` must be a string.", f"{where}.name")
    return name


def _as_function(tool: Mapping[str, Any], name: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name}
    if isinstance(tool.get("description"), str):
        made["description"] = tool["description"]
    if tool.get("type") == "custom":
        text = {"type": "string", "description": "The tool's whole input, as plain text."}
        made["parameters"] = {
            "type": "object",
            "properties": {"input": text},
            "required": ["input"],
        }
    else:
        made["parameters"] = tool.get("parameters") or {"type": "object", "properties": {}}
        if tool.get("strict") is not None:
            made["strict"] = tool["strict"]
    return {"type": "function", "function": made}


def _tool_choice(choice: object) -> object:
    if not isinstance(choice, dict):
        return choice
    if isinstance(choice.get("name"), str):
        space = choice.get("namespace")
        name = f"{space}{SEPARATOR}{choice['name']}" if isinstance(space, str) else choice["name"]
        return {"type": "function", "function": {"name": name}}
    return choice.get("mode") if choice.get("type") == "allowed_tools" else "auto"


# ---- the conversation --------------------------------------------------------------------------


def _messages(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    instructions = given.get("instructions")
    if isinstance(instructions, str) and instructions:
        messages.append({"role": "system", "content": instructions})
    items = given.get("input")
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    if not isinstance(items, list) or not items:
        raise InvalidRequest("`input` must be a string or a list of items.", "input")
    for number, item in enumerate(items):
        where = f"input[{number}]"
        if not isinstance(item, dict):
            raise InvalidRequest(f"`{where}` must be an object.", where)
        _append(messages, item, where)
    return _system_first(messages)


def _append(messages: list[dict[str, Any]], item: dict[str, Any], where: str) -> None:
    match item.get("type", "message"):
        case "message":
            _append_message(messages, item, where)
        case "function_call" | "custom_tool_call":
            _append_call(messages, item, where)
        case "function_call_output" | "custom_tool_call_output":
            content = _output_text(item.get("output"))
            call_id = str(item.get("call_id") or "")
            messages.append({"role": "tool", "tool_call_id": call_id, "content": content})
        case "item_reference":
            raise UnsupportedFeature(
                "`item_reference` needs stored items, and this gateway keeps none: send them whole.",
                where,
            )
        case _:
            # Reasoning, and calls of tools that only a vendor runs, mean nothing to a local engine.
            return


def _append_message(messages: list[dict[str, Any]], item: dict[str, Any], where: str) -> None:
    role = item.get("role")
    if not isinstance(role, str):
        raise InvalidRequest(f"`{where}.role` must be a string.", f"{where}.role")
    # Chat templates of local models know no `developer`.
    role = "system" if role == "developer" else role
    content = _content(item.get("content"), where)
    last = messages[-1] if messages else None
    if role == "assistant" and last and last["role"] == "assistant" and last.get("content") is None:
        last["content"] = content
    else:
        messages.append({"role": role, "content": content})


def _content(content: object, where: str) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidRequest(f"`{where}.content` must be a string or a list of parts.", where)
    parts = [_part(part, f"{where}.content[{number}]") for number, part in enumerate(content)]
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def _part(part: object, where: str) -> dict[str, Any]:
    if not isinstance(part, dict):
        raise InvalidRequest(f"`{where}` must be an object.", where)
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": str(part.get("text") or "")}
        case "refusal":
            return {"type": "text", "text": str(part.get("refusal") or "")}
        case "input_image" if isinstance(part.get("image_url"), str):
            image = {"url": part["image_url"]}
            if isinstance(part.get("detail"), str):
                image["detail"] = part["detail"]
            return {"type": "image_url", "image_url": image}
        case kind:
            raise UnsupportedFeature(
                f"`{where}` is {kind!s:.40}, which no engine here takes.", where
            )


def _append_call(messages: list[dict[str, Any]], item: dict[str, Any], where: str) -> None:
    name = _name(item, where)
    if isinstance(item.get("namespace"), str):
        name = item["namespace"] + SEPARATOR + name
    arguments = item.get("arguments")
    if item.get("type") == "custom_tool_call":
        arguments = pydantic_core.to_json({"input": item.get("input") or ""}).decode()
    function = {"name": name, "arguments": arguments if isinstance(arguments, str) else "{}"}
    call = {"id": str(item.get("call_id") or ""), "type": "function", "function": function}
    last = messages[-1] if messages else None
    if last is not None and last["role"] == "assistant":
        last.setdefault("tool_calls", []).append(call)
    else:
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _output_text(output: object) -> str:
    if isinstance(output, str):
        return output
    if isinstance(output, list):
        texts = [part.get("text") for part in output if isinstance(part, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return pydantic_core.to_json(output).decode()


def _system_first(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One system message in front: most chat templates refuse it anywhere else."""
    system = [one for one in messages if one["role"] == "system"]
    if len(system) <= 1 and (not system or messages[0]["role"] == "system"):
        return messages
    texts = [_as_text(one["content"]) for one in system]
    rest = [one for one in messages if one["role"] != "system"]
    return [{"role": "system", "content": "\n\n".join(texts)}, *rest]


def _as_text(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")
