"""The command line's way to a running gateway: plain HTTP, and errors that know their exit code."""

import argparse
import contextlib
import http.client
import json
import os
import urllib.parse
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from local_model_gateway import announcement, errors, paths

DEFAULT_URL = "http://127.0.0.1:8787"
CONNECT_S = 5.0
ANSWER_S = 60.0
LOOK_S = 10.0  # what only looks is answered at once, or not at all
_FOREIGN = "What answers at {url} is not a gateway; `lmg doctor` says who has the port"
_REFUSED = frozenset({401, 403, 409, 413, 415, 421, 429})


class Client:
    """One gateway. Each call is a connection of its own: a command makes one or two."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = url.rstrip("/")
        try:
            parts = urllib.parse.urlsplit(self.url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if host is None or parts.scheme != "http":
            raise errors.Usage(f"{url!r} is no address of a gateway; write http://HOST:PORT")
        self._host, self._port = host, port or 80
        self.key = key

    def get(self, path: str, *, timeout_s: float = LOOK_S) -> Any:  # Any: JSON
        """What the gateway says there."""
        with self._asked("GET", path, None, timeout_s) as answer:
            return self._json(answer)

    def post(self, path: str, body: Mapping[str, Any], *, timeout_s: float = ANSWER_S) -> Any:
        """Have the gateway do something."""
        with self._asked("POST", path, body, timeout_s) as answer:
            return self._json(answer)

    def delete(self, path: str) -> Any:  # Any: JSON
        """Have the gateway drop something."""
        with self._asked("DELETE", path, None, ANSWER_S) as answer:
            return self._json(answer)

    @contextlib.contextmanager
    def stream(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str], *, timeout_s: float
    ) -> Generator[tuple[Mapping[str, str], Iterator[bytes]]]:
        """The answer's headers, and its lines as they come; leaving the block hangs up."""
        with self._asked("POST", path, body, timeout_s, headers) as answer:
            found = {name.lower(): value for name, value in answer.getheaders()}
            yield found, self._lines(answer)

    @contextlib.contextmanager
    def _asked(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        timeout_s: float,
        more: Mapping[str, str] | None = None,
    ) -> Generator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_S)
        headers = {"X-LMG-Request": "1", "Accept": "application/json", **(more or {})}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        content = None if body is None else json.dumps(body).encode()
        if content is not None:
            headers["Content-Type"] = "application/json"
        try:
            with self._in_words():
                connection.connect()
                connection.sock.settimeout(timeout_s)
                connection.request(method, path, body=content, headers=headers)
                answer = connection.getresponse()
                if answer.status >= 400:
                    self._refuse(answer.status, answer.read())
            yield answer
        finally:
            connection.close()

    @contextlib.contextmanager
    def _in_words(self) -> Generator[None]:
        """What goes wrong on the way to the gateway and back; what our own output does is another matter."""
        try:
            yield
        except TimeoutError:
            raise errors.CommandFailed(
                f"{self.url} did not answer in time; `lmg doctor` says who has the port"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise errors.Unreachable(self._unreachable(error)) from None

    def _lines(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        while True:
            with self._in_words():
                line = answer.readline()
            if not line:
                return
            yield line.rstrip(b"\r\n")

    def _refuse(self, status: int, content: bytes) -> None:
        try:
            error = json.loads(content)["error"]
            message, code = str(error["message"]), str(error["code"])
        except (ValueError, KeyError, TypeError):
            # Every answer of ours that refuses something says so in this form.
            raise errors.Unreachable(_FOREIGN.format(url=self.url)) from None
        if status == 404:
            raise errors.NoSuchThing(message)
        if status == 401:
            raise errors.RefusedByGateway(
                "this gateway wants a key: set LMG_API_KEY to one of its server.keys, or name its "
                "configuration with --config"
            )
        if code == "queue_timeout":
            raise errors.StillQueued(message)
        if status in _REFUSED:
            raise errors.RefusedByGateway(message)
        raise errors.CommandFailed(message)

    def _json(self, answer: http.client.HTTPResponse) -> Any:  # Any: JSON
        with self._in_words():
            content = answer.read()
        try:
            return json.loads(content or b"{}")
        except ValueError:
            raise errors.Unreachable(_FOREIGN.format(url=self.url)) from None

    def _unreachable(self, error: Exception) -> str:
        if isinstance(error, ConnectionRefusedError | FileNotFoundError):
            return f"No gateway runs at {self.url}. Start one: lmg up"
        return f"{self.url} broke the connection ({type(error).__name__}). See: lmg logs"


def find(given: argparse.Namespace, env: Mapping[str, str] = os.environ) -> Client:
    """The gateway that this command is about: `--url`, `LMG_URL`, the configuration's, or the running one."""
    key = env.get("LMG_API_KEY") or None
    url = given.url or env.get("LMG_URL")
    if url:
        return Client(url, key)
    file = _config_file(given, env)
    if file is not None:
        return _of_config(file, key, env)
    announced = announcement.find(env)
    return Client(announced.url if announced else DEFAULT_URL, key)


def state_dir(given: argparse.Namespace, env: Mapping[str, str] = os.environ) -> Path:
    """Where the gateway of this configuration keeps its state."""
    file = _config_file(given, env)
    return paths.state_dir(env) if file is None else _peeked(file, env)[1]


def _config_file(given: argparse.Namespace, env: Mapping[str, str]) -> Path | None:
    named = given.config or env.get("LMG_CONFIG")
    if named:
        return Path(named).expanduser()
    candidates = (Path(paths.PROJECT_FILE), paths.config_dir(env) / "config.yaml")
    return next((path for path in candidates if path.exists()), None)


def _of_config(file: Path, key: str | None, env: Mapping[str, str]) -> Client:
    server, folder = _peeked(file, env)
    announced = announcement.read(folder)
    if announced is not None and announcement.alive(announced.pid):
        url = announced.url
    else:
        host = str(server.get("host", "127.0.0.1"))
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
        url = f"http://{shown}:{server.get('port', 8787)}"
    keys = server.get("keys")
    if key is None and isinstance(keys, dict) and keys:
        key = str(next(iter(keys.values())))
    return Client(url, key)


def _peeked(file: Path, env: Mapping[str, str]) -> tuple[Mapping[str, Any], Path]:
    """The server's section and the state directory, without validating the rest: it would cost 0.2 s."""
    from local_model_gateway import config_reader  # noqa: PLC0415 - YAML costs more than all the rest

    data = config_reader.read(file, env).data
    server = data.get("server")
    folder = data.get("state_dir")
    chosen = Path(folder).expanduser() if isinstance(folder, str) else paths.state_dir(env)
    return (server if isinstance(server, dict) else {}), chosen
