"""What a server may be called; pure."""

from catalog.clean import hidden_in_name
from catalog.model import SEPARATOR

NAME_LIMIT = 100


def usable(name: str) -> bool:
    """Whether a server may have this name: anything that can be seen, but for the sign that ids are parted by."""
    seen = name.isprintable() and not hidden_in_name(name) and name == name.strip()
    return seen and 0 < len(name) <= NAME_LIMIT and SEPARATOR not in name
