"""A plain ASGI endpoint for a method: Starlette would wrap a bare function into its request objects."""

from starlette.types import ASGIApp, Receive, Scope, Send


class Endpoint:
    """Calls it, and nothing else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on."""
        await self._app(scope, receive, send)
