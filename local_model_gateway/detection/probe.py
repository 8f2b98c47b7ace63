"""One GET to a loopback port, small and soon over; whatever goes wrong is no answer."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TIMEOUT_S = 0.75
MAX_BYTES = 1024 * 1024  # a model list of hundreds is far smaller


@dataclass(frozen=True, slots=True)
class Answer:
    """What a port said."""

    status: int = 0
    """0: nothing that speaks HTTP."""
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""

    @property
    def json(self) -> Any:  # Any: JSON
        """The answer as JSON, or an empty object."""
        if self.status != 200:
            return {}
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return {}


def get(port: int, path: str, *, host: str = "127.0.0.1", timeout_s: float = TIMEOUT_S) -> Answer:
    """Ask this machine, at `::1` where the other end listens only there."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"Accept": "*/*", "Connection": "close"})
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        text = answer.read(MAX_BYTES).decode("utf-8", "replace")
        return Answer(answer.status, headers, text)
    except (OSError, http.client.HTTPException):
        return Answer()
    finally:
        connection.close()
