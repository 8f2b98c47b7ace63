"""Whose call this is: jobs belong to the key that made them, else to the named session, else to this machine's user.

The same owners as on the HTTP routes, so that both show the same jobs.
"""

import re
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context

LOCAL = "local:http"
"""The owner where no key is asked for: a restarted agent, with another connection, finds its jobs again.

Every process of this machine that reaches the port is that owner, so here the job's id alone is what
keeps one agent's jobs from another's: it is unguessable, and only the list shows it.
"""
_SESSION = re.compile(r"[\x21-\x7e]{1,128}")


def owner(ctx: Context) -> str:
    """As the coordinator knows owners."""
    return owner_of(ctx.request_context)


def owner_of(request_context: ServerRequestContext[Any, Any]) -> str:
    """The same, where there is no tool context; Any: the SDK's two parameters, unused here."""
    request = request_context.request
    if request is None:
        return LOCAL
    name = request.scope.get("state", {}).get("caller")
    if name is not None:
        return f"key:{name}"
    sessions = request.headers.getlist("x-session-id")
    if len(sessions) == 1 and _SESSION.fullmatch(sessions[0]):
        return f"session:{sessions[0]}"
    return LOCAL


def can_be_asked(ctx: Context) -> bool:
    """Whether this client shows forms; asking one that does not is a protocol error."""
    capabilities = ctx.client_capabilities
    if capabilities is None or capabilities.elicitation is None:
        return False
    elicitation = capabilities.elicitation
    return elicitation.form is not None or elicitation.url is None
