"""Whether an address is reachable from other machines, and whether anything protects it there."""

import ipaddress
import socket
from collections.abc import Iterable

from pydantic import SecretStr

KEY_LENGTH = 32
"""The shortest key that may protect an address which other machines can reach."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect; a name counts by what it resolves to, all of it."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        pass
    if host == "localhost":
        return True
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(str(address[4][0])).is_loopback for address in found)


def danger(host: str, keys: Iterable[SecretStr]) -> str | None:
    """Why nobody may listen on `host` with these keys, and what to do; None when it is safe."""
    if is_loopback(host):
        return None
    lengths = [len(key.get_secret_value()) for key in keys]
    if lengths and min(lengths) >= KEY_LENGTH:
        return None
    have = (
        "there is no key" if not lengths else f"one of the keys has only {min(lengths)} characters"
    )
    return (
        f"{host!r} can be reached from other machines and {have}; listen on 127.0.0.1, "
        f"or give every key at least {KEY_LENGTH} characters in server.keys"
    )
