"""langchain-openai as a client: `langchain_client.py BASE_URL TIMEOUT_S`."""

import json
import sys
from typing import Any

from langchain_openai import (  # type: ignore[import-not-found,unused-ignore]  # as in litellm_client
    ChatOpenAI,
    OpenAIEmbeddings,
)

BASE_URL, TIMEOUT_S = sys.argv[1], float(sys.argv[2])
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "w",
        "parameters": {"type": "object", "properties": {}},
    },
}


def chat(**more: Any) -> Any:
    """The client."""
    return ChatOpenAI(
        model="tiny", base_url=BASE_URL, api_key="any", timeout=TIMEOUT_S, max_retries=0, **more
    )


def main() -> None:
    """Every way, in turn; the first one meets the cold load."""
    found: dict[str, Any] = {}
    found["stream"] = "".join(part.content for part in chat().stream("hello"))
    found["whole"] = chat().invoke("hello").content
    spaces = {"x-lmg-keepalive": "whitespace"}
    found["spaces"] = chat(default_headers=spaces).invoke("hello").content
    call = chat().bind_tools([TOOL]).invoke("[[tool]] weather").tool_calls[0]
    found["tool"] = [call["name"], json.dumps(call["args"], separators=(",", ":"))]
    vectors = OpenAIEmbeddings(
        model="tiny", base_url=BASE_URL, api_key="any", check_embedding_ctx_length=False
    )
    found["embedding"] = vectors.embed_documents(["a"])[0]
    responses = chat(use_responses_api=True)
    found["responses"] = responses.invoke("hello").text
    found["responses-stream"] = "".join(part.text for part in responses.stream("hello"))
    for name, ask in (
        ("cut", chat().invoke),
        ("cut-stream", lambda text: list(chat().stream(text))),
    ):
        try:
            ask("[[cut]] x")
        except Exception as error:  # noqa: BLE001 - whatever it raises is the finding
            found[name] = type(error).__name__
    print("FOUND" + json.dumps(found))


main()
