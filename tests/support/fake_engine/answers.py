"""What the fake engine says: a pure function of model and prompt, so that tests can assert exact text."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

WORDS = [
    "amber",
    "birch",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "heron",
    "iris",
    "jade",
    "kelp",
    "lark",
    "maple",
    "nectar",
    "olive",
    "pearl",
    "quartz",
    "reed",
    "slate",
    "thyme",
    "umber",
    "violet",
    "willow",
    "xenon",
    "yarrow",
    "zephyr",
]


def words(model: str, prompt: str, count: int) -> list[str]:
    """`count` tokens, each with its leading space but the first."""
    seed = hashlib.sha256(f"{model}\0{prompt}".encode()).digest()
    chosen = [WORDS[(seed[i % 32] + i) % len(WORDS)] for i in range(count)]
    return [word if i == 0 else " " + word for i, word in enumerate(chosen)]


def text(model: str, prompt: str, count: int) -> str:
    """The whole answer."""
    return "".join(words(model, prompt, count))


def prompt_tokens(prompt: str) -> int:
    """How many tokens the fake tokenizer sees: its words."""
    return max(1, len(prompt.split()))


def embedding(model: str, prompt: str, size: int = 8) -> list[float]:
    """A vector that depends on model and input only."""
    digest = hashlib.sha256(f"{model}\0{prompt}".encode()).digest()
    return [round(digest[i] / 255 - 0.5, 4) for i in range(size)]


def chat_prompt(messages: Sequence[Mapping[str, Any]]) -> str:
    """The last user message's text, of either shape."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return flat(message.get("content"))
    return ""


def flat(content: object) -> str:
    """A prompt or content as one string, also when it came as parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(
            flat(part.get("text") if isinstance(part, dict) else part) for part in content
        )
    return ""
