"""Stand-ins for the broker's settings until the broker brings them."""

from runtimes.settings import Section


class ServerSettings(Section):
    """One downstream server."""

    command: str | None = None


class BrokerSettings(Section):
    """The broker's own options."""
