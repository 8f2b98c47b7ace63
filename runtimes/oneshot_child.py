"""A server around a program that answers one prompt and ends: each request runs it once.

Started as a file, like `embedded_child`, and without imports of this project. What the program prints is
the answer; a client that leaves ends the program.
"""

import argparse
import http.server
import json
import os
import select
import signal
import socket
import subprocess  # noqa: TID251 - this file is a process of its own, that starts processes for a living
import sys
import time
from collections.abc import Iterator
from typing import Any

CHUNK = 4096
POLL_S = 0.2
GRACE_S = 5.0
PROMPT = "{prompt}"


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="oneshot_child", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--alias", required=True)
    parser.add_argument("command", nargs="+")
    asked = parser.parse_args()
    Handler.alias, Handler.program = asked.alias, asked.command
    Handler.key = os.environ.get("LMG_RUNTIME_NONCE", "")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    http.server.ThreadingHTTPServer(("127.0.0.1", asked.port), Handler).serve_forever()


def flat(content: object) -> str:
    """A message's text, of either shape."""
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def prompt_of(body: dict[str, Any]) -> str:
    """The conversation as one text; a lone user message is itself."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return flat(body.get("prompt"))
    if len(messages) == 1:
        return flat(messages[0].get("content"))
    return "\n\n".join(f"{each.get('role')}: {flat(each.get('content'))}" for each in messages)


class Handler(http.server.BaseHTTPRequestHandler):
    """The few routes that the gateway uses."""

    alias = ""
    key = ""
    program: list[str] = []  # noqa: RUF012 - set once, before the server starts
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Health and the one model."""
        if self.path == "/health":
            self._json(200, {"status": "ok"})
        elif self.path == "/v1/models":
            self._json(200, {"object": "list", "data": [{"id": self.alias, "object": "model"}]})
        else:
            self._json(404, {"error": {"message": "no such route", "code": 404}})

    def do_POST(self) -> None:
        """Run the program."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.key and self.headers.get("authorization") != f"Bearer {self.key}":
            self._json(401, {"error": {"message": "wrong key", "code": 401}})
            return
        chat = self.path == "/v1/chat/completions"
        if not chat and self.path != "/v1/completions":
            self._json(404, {"error": {"message": "no such route", "code": 404}})
            return
        asked = json.loads(body)
        argv = [part.replace(PROMPT, prompt_of(asked)) for part in self.program]
        program = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        try:
            self._answer(program, chat=chat, streamed=bool(asked.get("stream")))
        finally:
            _end(program)

    def _answer(self, program: "subprocess.Popen[bytes]", *, chat: bool, streamed: bool) -> None:
        if not streamed:
            text = "".join(self._pieces(program))
            if program.wait():
                self._json(
                    500,
                    {
                        "error": {
                            "message": f"the program ended with {program.returncode}",
                            "code": 500,
                        }
                    },
                )
                return
            part = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            self._json(
                200, self._envelope([{"index": 0, **part, "finish_reason": "stop"}], chat=chat)
            )
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.close_connection = True
        self.end_headers()
        for piece in self._pieces(program):
            self._event(self._choice(piece, None, chat=chat), chat=chat)
        if code := program.wait():
            self._raw({"error": {"message": f"the program ended with {code}", "code": 500}})
            return
        self._event(self._choice("", "stop", chat=chat), chat=chat)
        self.wfile.write(b"data: [DONE]\n\n")

    def _pieces(self, program: "subprocess.Popen[bytes]") -> Iterator[str]:
        """What the program prints, as it prints it; ends early when the client has left."""
        assert program.stdout is not None
        out = program.stdout.fileno()
        rest = b""
        while True:
            readable, _, _ = select.select([out, self.connection], [], [], POLL_S)
            if self.connection in readable and not self.connection.recv(1, socket.MSG_PEEK):
                raise ConnectionAbortedError
            if out not in readable:
                continue
            raw = os.read(out, CHUNK)
            whole, rest = _whole_characters(rest + raw, last=not raw)
            if whole:
                yield whole
            if not raw:
                return

    def _choice(self, text: str, finish: str | None, *, chat: bool) -> dict[str, Any]:
        part: dict[str, Any] = (
            {"delta": {"content": text} if text else {}} if chat else {"text": text}
        )
        return {"index": 0, **part, "finish_reason": finish}

    def _envelope(self, choices: list[dict[str, Any]], *, chat: bool) -> dict[str, Any]:
        kind = "chat.completion" if chat else "text_completion"
        created = int(time.time())
        return {
            "id": f"run-{created}",
            "object": kind,
            "created": created,
            "model": self.alias,
            "choices": choices,
        }

    def _event(self, choice: dict[str, Any], *, chat: bool) -> None:
        said = self._envelope([choice], chat=chat)
        said["object"] += ".chunk" if chat else ""
        self._raw(said)

    def _raw(self, said: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(said).encode() + b"\n\n")
        self.wfile.flush()

    def _json(self, status: int, said: dict[str, Any]) -> None:
        raw = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Requests are the gateway's to log; this log is the program's."""

    def handle(self) -> None:
        """A client that left is no error."""
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True


def _whole_characters(raw: bytes, *, last: bool) -> tuple[str, bytes]:
    """As much as is whole UTF-8; a character that is cut in two waits for its other half."""
    if last:
        return raw.decode("utf-8", "replace"), b""
    for cut in range(min(4, len(raw) + 1)):
        try:
            return raw[: len(raw) - cut].decode("utf-8"), raw[len(raw) - cut :]
        except UnicodeDecodeError:
            continue
    return raw.decode("utf-8", "replace"), b""


def _end(program: "subprocess.Popen[bytes]") -> None:
    if program.poll() is None:
        program.terminate()
        try:
            program.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            program.kill()
    program.wait()
    if program.stdout is not None:
        program.stdout.close()


if __name__ == "__main__":
    main()
