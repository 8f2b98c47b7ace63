"""Whether a call is made, asks first, or is refused; pure.

The effect of a tool, best source first:
1. what the server admits about itself (destructive, or not read-only) is always believed;
2. what it claims in its favour (read-only) is believed where the server is trusted;
3. the words of the tool's name;
4. otherwise it is unknown.

The action, most telling rule first:
1. a rule for exactly this tool;
2. a rule by pattern, then one for the whole server: these may refuse or ask, and may free
   everything that does not destroy;
3. reading is allowed, everything else asks.
"""

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass

from broker.settings import Action, Effect
from catalog import text
from catalog.model import Hints

_READS = "get list search find read fetch show view describe lookup count check status browse inspect preview whoami"
_READS_MORE = "info help explain summarize validate verify compare diff calculate convert estimate ping retrieve"
_DESTROYS = "delete remove drop destroy erase purge wipe truncate uninstall revoke terminate kill reset force overwrite"
_WRITES = (
    "create add new make insert update edit modify set change patch put post write save store append send publish upload "
    "move rename copy clone fork merge push commit checkout stage unstage start stop restart pause resume cancel close open "
    "enable disable assign invite grant approve reject reply comment subscribe follow like star install deploy rollback "
    "release trigger schedule book order buy pay transfer refund import export sync convert click type press fill submit "
    "navigate login logout register mark archive restore lock unlock tag label record apply resolve clear deactivate toggle activate connect disconnect "
    "upsert replace configure attach detach share download generate"
)
# These may do anything, whatever else the name says.
_OPAQUE = "run execute exec eval evaluate sql cypher"
# And these, unless a word for reading leads: `read_terminal_output`, `search_code`.
_DOUBTFUL = "query command shell bash terminal script code invoke call do process request raw"

READS = frozenset((_READS + " " + _READS_MORE).split())
DESTROYS = frozenset(_DESTROYS.split())
WRITES = frozenset(_WRITES.split())
OPAQUE = frozenset(_OPAQUE.split())
DOUBTFUL = frozenset(_DOUBTFUL.split())


@dataclass(frozen=True, slots=True)
class Rules:
    """The explicit part of a server's policy."""

    server: Action | None = None
    tools: Mapping[str, Action] | None = None
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a call, what the tool is taken to do, and where both come from."""

    action: Action
    effect: Effect
    why: str


def effect_of(name: str, hints: Hints, trusted: bool) -> tuple[Effect, str]:
    """What a tool is taken to do, and by what evidence."""
    if hints.destructive and hints.read_only is not True:
        return "destructive", "the server says it may destroy"
    if hints.read_only is False and hints.destructive is False:
        named = _by_name(name)
        return (
            ("destructive", "its name")
            if named == "destructive"
            else ("write", "the server says it writes")
        )
    if trusted and hints.read_only:
        return "read", "the trusted server says it only reads"
    named = _by_name(name)
    if hints.read_only is False and named in {"read", "unknown"}:
        return "write", "the server says it writes"
    return (
        named,
        "its name" if named != "unknown" else "neither its name nor the server says what it does",
    )


def _by_name(name: str) -> Effect:
    words = list(text.words(name))
    if any(word in DESTROYS for word in words):
        return "destructive"
    if any(word in OPAQUE for word in words):
        return "unknown"
    verb = next((word for word in words if word in READS | WRITES | DOUBTFUL), None)
    if verb is None or verb in DOUBTFUL:
        return "unknown"
    if verb in WRITES or _writes_later(words, verb):
        return "write"
    return "read"


def _writes_later(words: list[str], verb: str) -> bool:
    """`get_or_create` writes; `list_open_orders` and `get_release` do not."""
    after = words[words.index(verb) + 1 :]
    joined = [place for place, word in enumerate(after) if word in {"or", "and"}]
    return any(word in WRITES for place in joined for word in after[place + 1 :])


def decide(name: str, hints: Hints, rules: Rules) -> Decision:
    """The one place where a tool is allowed, asked about or refused."""
    effect, evidence = effect_of(name, hints, rules.trusted)
    tools = rules.tools or {}
    if name in tools:
        return Decision(tools[name], effect, f"rule for {name}")
    patterns = sorted(
        (one for one in tools if fnmatch.fnmatchcase(name, one)), key=len, reverse=True
    )
    explicit = tools[patterns[0]] if patterns else rules.server
    source = f"rule for {patterns[0]}" if patterns else "rule for the server"
    if explicit == "deny" or explicit == "ask":
        return Decision(explicit, effect, source)
    if effect == "destructive":
        return Decision("ask", effect, evidence)
    if explicit == "allow":
        return Decision("allow", effect, source)
    return Decision("allow" if effect == "read" else "ask", effect, evidence)
