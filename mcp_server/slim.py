"""Makes tool schemas short: what every agent pays for in every conversation is what they must know, not more."""

from typing import Any

from mcp.types import Tool


def slim(tool: Tool) -> Tool:
    """The same tool with shorter schemas; everything that was valid still is."""
    return tool.model_copy(
        update={
            "input_schema": _input(tool.input_schema),
            "output_schema": None if tool.output_schema is None else _output(tool.output_schema),
        }
    )


def _input(schema: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {"type": "object", "properties": {}}
    definitions = schema.get("$defs", {})
    for name, field in schema.get("properties", {}).items():
        kept["properties"][name] = _argument(field, definitions)
    if schema.get("required"):
        kept["required"] = schema["required"]
    return kept


def _argument(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Without titles; `X or nothing` is X, since an argument may always be left out."""
    if "$ref" in field:
        field = {**definitions[field["$ref"].rpartition("/")[2]], **field}
        del field["$ref"]
    kept = {
        key: value for key, value in field.items() if key not in ("title", "additionalProperties")
    }
    if kept.get("default", 0) is None:
        del kept["default"]
    if "anyOf" in kept:
        arms = [arm for arm in kept.pop("anyOf") if arm != {"type": "null"}]
        kept.update(arms[0] if len(arms) == 1 else _merged(arms))
    if isinstance(kept.get("items"), dict):
        kept["items"] = _argument(kept["items"], definitions)
    return kept


def _merged(arms: list[dict[str, Any]]) -> dict[str, Any]:
    """`number or one of these names`, as a list of types: the names are in the description or the error."""
    return {"type": [arm["type"] for arm in arms]}


def _output(schema: dict[str, Any]) -> dict[str, Any]:
    """Only what every answer has, with its type; whatever else an answer says, it names itself."""
    required: list[str] = schema.get("required", [])
    definitions = schema.get("$defs", {})
    properties = {name: _shallow(schema["properties"][name], definitions) for name in required}
    return {"type": "object", "properties": properties, "required": required}


def _shallow(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The outermost type; empty where anything may be."""
    arms = [arm for arm in field.get("anyOf", [field]) if arm != {"type": "null"}]
    if len(arms) != 1:
        return {}
    arm = arms[0]
    if "$ref" in arm:
        arm = definitions[arm["$ref"].rpartition("/")[2]]
    kind = arm.get("type")
    return {} if kind is None else {"type": kind}
