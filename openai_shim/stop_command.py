"""Stop phrases: an exact "stop" as the last user message ends that client's own work, and nobody else's."""

PHRASES = frozenset(
    {
        "/cancel",
        "/stop",
        "abort",
        "abort generation",
        "cancel",
        "cancel generation",
        "cancel request",
        "cancel that",
        "halt",
        "please stop",
        "stop",
        "stop generating",
        "stop generation",
        "stop it",
        "stop now",
        "stop please",
        "stop that",
        "stop the generation",
        "stop this",
    }
)
_LONGEST = max(map(len, PHRASES)) + 3


def is_stop(text: str | None) -> bool:
    """Whether this is a stop phrase and nothing else; case, outer space and a full stop do not count."""
    if text is None or len(text) > _LONGEST:
        return False
    return text.strip().rstrip(".!").rstrip().lower() in PHRASES


def said(ended: tuple[str, ...]) -> str:
    """What the client reads in place of an answer."""
    match len(ended):
        case 0:
            return "Nothing of yours was waiting or running, so there was nothing to stop."
        case 1:
            return f"Stopped your request {ended[0]}."
        case count:
            return f"Stopped {count} of your requests: {', '.join(ended)}."


def extra(ended: tuple[str, ...]) -> dict[str, object]:
    """The same for programs."""
    return {"stop_command": True, "cancelled_work_item_ids": list(ended)}
