"""Text from a downstream server made safe to show: no control characters, no hidden ones, no end."""

import unicodedata

DESCRIPTION_LIMIT = 4_000
PARAMETER_LIMIT = 1_000
NAME_LIMIT = 128
SCHEMA_LIMIT = 64_000

_KEPT = frozenset("\n\t")
# Cf has the zero-width and bidirectional marks and the tag letters, Mn the selectors that can spell text unseen.
_HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Cn"})


def _shown(character: str) -> bool:
    if character in _KEPT or character.isascii():
        return character in _KEPT or character.isprintable()
    point = ord(character)
    if 0xFE00 <= point <= 0xFE0F or 0xE0100 <= point <= 0xE01EF:
        return False
    return unicodedata.category(character) not in _HIDDEN


def text(value: object, limit: int = DESCRIPTION_LIMIT) -> str:
    """The visible part of a text, cut at the limit."""
    if not isinstance(value, str):
        return ""
    plain = value.replace("\r\n", "\n")
    if not (plain.isascii() and plain.isprintable()):
        plain = "".join(character for character in plain if _shown(character))
    plain = plain.strip()
    return plain if len(plain) <= limit else plain[: limit - 1].rstrip() + "…"


def schema(value: object) -> object:
    """A JSON schema with its descriptions cleaned; names and limits stay as the server checks them."""
    if isinstance(value, dict):
        return {
            key: text(part, PARAMETER_LIMIT)
            if key in ("description", "title", "$comment") and isinstance(part, str)
            else schema(part)
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [schema(part) for part in value]
    return value


def without_prose(value: object) -> object:
    """The same schema without descriptions, for the few that are larger than the limit."""
    if isinstance(value, dict):
        return {
            key: without_prose(part)
            for key, part in value.items()
            if key not in ("description", "title", "examples", "$comment")
            or not isinstance(part, str | list)
        }
    if isinstance(value, list):
        return [without_prose(part) for part in value]
    return value


def hidden_in_name(name: str) -> bool:
    """Whether a name holds characters that would not show, so that it could pass for another."""
    return any(not _shown(character) for character in name) or not name.strip()
