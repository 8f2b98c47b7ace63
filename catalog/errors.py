"""What can go wrong with the catalog.

- CatalogError
  - BadServerName
  - UnknownTool
  - UnknownServer
"""

from collections.abc import Sequence


class CatalogError(Exception):
    """Anything the catalog refuses; `code` is stable."""

    code = "catalog_error"


class BadServerName(CatalogError):
    """A server's name cannot be part of a tool id."""

    code = "bad_server_name"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name[:80]!r} cannot name a server: use up to 100 visible characters without ':'"
        )
        self.name = name


class UnknownTool(CatalogError):
    """No tool has this id."""

    code = "tool_not_found"

    def __init__(self, tool_id: str, nearest: Sequence[str]) -> None:
        hint = f"; did you mean {', '.join(nearest)}?" if nearest else "; search_tools finds ids"
        super().__init__(f"no tool {tool_id[:160]!r}{hint}")
        self.tool_id, self.nearest = tool_id, tuple(nearest)


class UnknownServer(CatalogError):
    """No downstream server has this name."""

    code = "server_not_found"

    def __init__(self, server: str, nearest: Sequence[str]) -> None:
        hint = (
            f"; did you mean {', '.join(nearest)}?" if nearest else "; list_servers has the names"
        )
        super().__init__(f"no server {server[:80]!r}{hint}")
        self.server, self.nearest = server, tuple(nearest)
