"""LiteLLM as a client: `litellm_client.py BASE_URL TIMEOUT_S`."""

import json
import sys
from typing import Any

import litellm  # type: ignore[import-not-found,unused-ignore]  # lives in an environment of its own

BASE_URL, TIMEOUT_S = sys.argv[1], float(sys.argv[2])
COMMON: dict[str, Any] = {
    "model": "openai/tiny",
    "api_base": BASE_URL,
    "api_key": "any",
    "timeout": TIMEOUT_S,
    "max_retries": 0,
}
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}},
}


def ask(prompt: str, **more: Any) -> Any:
    """One chat."""
    return litellm.completion(messages=[{"role": "user", "content": prompt}], **COMMON, **more)


def main() -> None:
    """Every way, in turn; the first one meets the cold load."""
    found: dict[str, Any] = {}
    parts = [part.choices[0].delta.content or "" for part in ask("hello", stream=True)]
    found["stream"] = "".join(parts)
    found["whole"] = ask("hello").choices[0].message.content
    spaces = {"x-lmg-keepalive": "whitespace"}
    found["spaces"] = ask("hello", extra_headers=spaces).choices[0].message.content
    call = ask("[[tool]] weather", tools=[TOOL]).choices[0].message.tool_calls[0]
    found["tool"] = [call.function.name, call.function.arguments]
    vectors = litellm.embedding(input=["a"], **COMMON)
    found["embedding"] = vectors.data[0]["embedding"]
    try:
        ask("[[cut]] x", stream=False)
    except Exception as error:  # noqa: BLE001 - whatever it raises is the finding
        found["cut"] = type(error).__name__
    try:
        found["half"] = [part.choices[0].delta.content for part in ask("[[cut]] x", stream=True)]
    except Exception as error:  # noqa: BLE001 - whatever it raises is the finding
        found["cut-stream"] = type(error).__name__
    print("FOUND" + json.dumps(found))


main()
