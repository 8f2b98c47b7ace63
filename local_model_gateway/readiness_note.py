"""Tells a service manager that waits for it that the gateway is ready, or is stopping."""

import os
import socket
from collections.abc import Mapping


def send(state: str, env: Mapping[str, str] = os.environ) -> bool:
    """`READY=1` or `STOPPING=1` to systemd; False where nobody asked for it."""
    address = env.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    # "@" stands for a name that is in no file system.
    target = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.sendto(state.encode(), target)
        except OSError:
            return False
    return True
