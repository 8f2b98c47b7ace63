"""Answers in as few tokens as they can be understood in; pure."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from broker.policy import Decision
from catalog import text
from catalog.library import Match
from catalog.model import Parameter, Tool

# Eight hits at this length stay under three hundred tokens, at the usual four characters a token;
# what is left for words is what JSON's keys do not take.
HIT_CHARS = 96
SUMMARY_LEAST = 36
SUMMARY_SHORTEST = 18
MOST_PARAMETERS = 6
DIFF_LINES = 12

_SENTENCE = re.compile(r"(?<=[.!?。])\s")
_MARKS = re.compile(r"[\s*#`]+")


@dataclass(frozen=True, slots=True)
class Found:
    """One hit as it is answered."""

    tool_id: str
    params: str
    summary: str
    note: str


def signature(parameters: Sequence[Parameter]) -> str:
    """Names of the arguments, required first; `?` marks the others."""
    names = [one.name if one.required else f"{one.name}?" for one in parameters[:MOST_PARAMETERS]]
    more = len(parameters) - MOST_PARAMETERS
    return " ".join(names) + (f" +{more}" if more > 0 else "")


def summary(tool: Tool, limit: int) -> str:
    """The first sentence of the description, on one line."""
    words = _MARKS.sub(" ", tool.description or tool.title).strip()
    words = _SENTENCE.split(words, maxsplit=1)[0]
    return words if len(words) <= limit else words[: limit - 1].rsplit(" ", 1)[0] + "…"


def note(match: Match, decision: Decision, quarantined: bool) -> str:
    """Why it was found, and what stands before a call; words that the id shows already are left out."""
    shown = f"{match.tool.tool_id} {summary(match.tool, 80)}".lower()
    words = [] if match.why == "exact name" else match.why.split()
    why = [word for word in words if text.stem(word) not in shown and word not in text.STOP_WORDS][
        :2
    ]
    state = "changed, not callable" if quarantined else "asks" if decision.action == "ask" else ""
    return "; ".join(filter(None, (state, " ".join(why))))


def hits(matches: Iterable[tuple[Match, Decision, bool]]) -> list[Found]:
    """Compact hits, each within its share of the budget."""
    found = []
    for match, decision, quarantined in matches:
        tool = match.tool
        args = signature(tool.parameters())
        told = note(match, decision, quarantined)
        left = max(HIT_CHARS - len(tool.tool_id) - len(told), SUMMARY_SHORTEST)
        args = _cut(args, left - min(SUMMARY_LEAST, left))
        does = summary(tool, max(SUMMARY_SHORTEST, left - len(args)))
        found.append(Found(tool.tool_id, args, does, told))
    return found


def _cut(args: str, limit: int) -> str:
    if len(args) <= limit:
        return args
    if limit < 8:
        return "…"
    names = args[: limit - 2].rpartition(" ")[0]
    return f"{names} …" if names else "…"


def markdown(tool: Tool, decision: Decision) -> str:
    """A tool's sheet for reading: about a third of the tokens of its JSON schema."""
    lines = [f"## {tool.tool_id}", tool.description, ""]
    for one in tool.parameters():
        need = "required" if one.required else "optional"
        lines.append(f"- `{one.name}` ({one.type}, {need}) {one.description}".rstrip())
    lines.append(f"\n{decision.effect}: {decision.action} ({decision.why})")
    return "\n".join(lines)


def approximate_tokens(chars: int) -> int:
    """Four characters a token; JSON is a little denser."""
    return -(-chars // 4)


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
