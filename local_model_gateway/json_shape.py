"""How much JSON a body may be, judged before anything parses it.

Thirty megabytes of `[],[],…` hold a parser, and with it the event loop, for seconds and take most
of a gigabyte; nesting breaks parsers that recurse. Counting bytes costs next to nothing.
"""

MAX_DEPTH = 64
MAX_TOKENS = 500_000
"""Of `[`, `{` and `,` together, wherever they stand: a prompt of tens of megabytes has fewer commas."""

_STRUCTURE = b'"[]{}'
_OTHERS = bytes(set(range(256)) - set(_STRUCTURE))
_ONE_KIND_OF_BRACKET = bytes.maketrans(b"{}", b"[]")


class TooComplex(ValueError):
    """The body is small enough, and still too much to parse."""


def check(body: bytes) -> None:
    """Raise `TooComplex` for a body that is nested too deep or has too many values.

    It says nothing about validity: a parser may still refuse what passes here.
    """
    opened = body.count(b"[") + body.count(b"{")
    if opened + body.count(b",") > MAX_TOKENS:
        raise TooComplex(f"the JSON has more than {MAX_TOKENS:,} values; send it in parts")
    if opened > MAX_DEPTH and _deeper_than(body, MAX_DEPTH):
        raise TooComplex(f"the JSON is nested deeper than {MAX_DEPTH} levels; flatten it")


def _deeper_than(body: bytes, limit: int) -> bool:
    # Escaped backslashes go first, so that what is left of `\\"` is a quote that really closes.
    unescaped = body.replace(rb"\\", b"").replace(rb"\"", b"")
    structure = unescaped.translate(_ONE_KIND_OF_BRACKET, delete=_OTHERS)
    brackets = b"".join(structure.split(b'"')[::2])
    # Each pass takes away the innermost pairs: one level.
    for _ in range(limit):
        shorter = brackets.replace(b"[]", b"")
        if len(shorter) == len(brackets):
            break
        brackets = shorter
    # What is left was deeper than the limit, or never closed: `[[[[…` is the attack itself.
    return b"[]" in brackets or len(brackets) > limit
