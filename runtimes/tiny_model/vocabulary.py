"""The words of the hand-made model, and the chat template that its triggers live in."""

from dataclasses import dataclass

SENTENCE = (
    "Nothing I say here means anything: my few weights were written by hand, never trained. Still, each word "
    "was decoded in a real engine on this machine. Add your own model to get sense."
)
GREETING = SENTENCE.split(" ")
"""No word twice: each one is what tells the model which comes next."""
COUNT = tuple(str(number) for number in range(1, 101))
SPECIAL = (
    "<unk>",
    "<s>",
    "<|end|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|tool|>",
    "<tool_call>",
    "</tool_call>",
)
UNKNOWN, BEGIN, END, SYSTEM, USER, ASSISTANT, TOOL, CALL, CALL_END = range(len(SPECIAL))

TRIGGERS = {"count": "\u25811", "tool": "<tool_call>"}
"""A word in the prompt → the token that the answer then begins with."""

# The numbers are GGUF's token types.
NORMAL, UNKNOWN_TYPE, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

TEMPLATE = (
    "{%- if tools %}<|system|>You may call these functions: {{ tools | tojson }}. Answer with <tool_call>"
    '{"name": ..., "arguments": {...}}</tool_call><|end|>{% endif -%}'
    "{%- for m in messages -%}"
    "<|{{ m.role }}|>{% if m.content %}{{ m.content }}{% endif -%}"
    "{%- if m.tool_calls -%}{%- for c in m.tool_calls -%}<tool_call>"
    '{"name": {{ c.function.name | tojson }}, "arguments": {{ c.function.arguments | tojson }}}'
    "</tool_call>{%- endfor -%}{%- endif -%}<|end|>"
    "{%- endfor -%}{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)


@dataclass(frozen=True, slots=True)
class Token:
    """One entry of the vocabulary."""

    text: str
    score: float
    kind: int


class Vocabulary:
    """Special tokens, all bytes, and the pieces that the known sentences are made of.

    Both tokenizer families merge pairwise, so every prefix of a word must be a piece of its own.
    """

    def __init__(self) -> None:
        self.tokens: list[Token] = []
        self.ids: dict[str, int] = {}
        self.merges: list[tuple[str, str]] = []
        for number, text in enumerate(SPECIAL):
            kind = UNKNOWN_TYPE if number == UNKNOWN else CONTROL
            self._add(text, 0.0, USER_DEFINED if number in (CALL, CALL_END) else kind)
        for value in range(256):
            self._add(byte_token(value), 0.0, BYTE)
        self.greeting = [
            self._piece(word if first else "\u2581" + word)
            for first, word in zip([True] + [False] * len(GREETING), GREETING, strict=False)
        ]
        self.count = [self._piece("\u2581" + number) for number in COUNT]
        self.triggers = {
            word: (self._piece(word), self._piece("\u2581" + word)) for word in TRIGGERS
        }
        self._add_missing_characters()
        while len(self.tokens) % 64:
            self._add(f"<pad{len(self.tokens)}>", 0.0, UNUSED)

    def _add(self, text: str, score: float, kind: int) -> int:
        self.ids[text] = len(self.tokens)
        self.tokens.append(Token(text, score, kind))
        return self.ids[text]

    def _piece(self, text: str) -> int:
        for length in range(2, len(text) + 1):
            prefix = text[:length]
            if prefix not in self.ids:
                self._add(prefix, -float(len(self.tokens)), NORMAL)
                self.merges.append((prefix[:-1], prefix[-1]))
        if text not in self.ids:
            self._add(text, -float(len(self.tokens)), NORMAL)
        return self.ids[text]

    def _add_missing_characters(self) -> None:
        """A merge can only start from characters that are tokens themselves."""
        for pair in list(self.merges):
            for text in pair:
                if len(text) == 1 and text not in self.ids:
                    self._add(text, -float(len(self.tokens)), NORMAL)


def byte_token(value: int) -> str:
    """How a raw byte is written in the vocabulary."""
    return f"<0x{value:02X}>"
