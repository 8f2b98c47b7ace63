"""The key that seals what clients carry between two rounds of a question; it outlives a restart."""

import os
import secrets
import stat
from pathlib import Path

from mcp.server.request_state import AESGCMRequestStateCodec

KEY_BYTES = 32
FILE = "mcp-state.key"


class UnsafeKeyFile(Exception):
    """The key file is not ours alone."""

    code = "unsafe_key_file"

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} {problem}; remove it, a new one is made at the next start")
        self.path, self.problem = path, problem


class StateKey:
    """The key of one state directory, as a codec for the SDK and as bytes for us; `load` it first."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE
        self._key: bytes | None = None
        self._codec: AESGCMRequestStateCodec | None = None

    def load(self) -> None:
        """Read it, or make it once, readable by its owner alone. Touches the disk."""
        self._key = _load(self._path)
        self._codec = AESGCMRequestStateCodec([self._key])

    @property
    def secret(self) -> bytes:
        """The bytes."""
        if self._key is None:
            raise RuntimeError("the surface answers calls only inside `run`")
        return self._key

    def seal(self, payload: bytes) -> str:
        """For the SDK."""
        return self._aes().seal(payload)

    def unseal(self, token: str) -> bytes:
        """For the SDK; raises its `InvalidRequestState`."""
        return self._aes().unseal(token)

    def _aes(self) -> AESGCMRequestStateCodec:
        if self._codec is None:
            raise RuntimeError("the surface answers calls only inside `run`")
        return self._codec


def _load(path: Path) -> bytes:
    flags = getattr(os, "O_NOFOLLOW", 0)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o600)
    except FileExistsError:
        return _read(path, flags)
    key = secrets.token_bytes(KEY_BYTES)
    try:
        os.write(file, key)
        os.fsync(file)
    finally:
        os.close(file)
    return key


def _read(path: Path, flags: int) -> bytes:
    try:
        file = os.open(path, os.O_RDONLY | flags)
    except OSError as error:
        raise UnsafeKeyFile(path, f"cannot be read ({error.strerror})") from error
    try:
        mode = os.fstat(file).st_mode
        key = os.read(file, KEY_BYTES + 1)
    finally:
        os.close(file)
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise UnsafeKeyFile(path, "may be read by others")
    if len(key) != KEY_BYTES:
        raise UnsafeKeyFile(path, "does not hold a key")
    return key
