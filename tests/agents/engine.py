"""An engine that behaves as a model would towards an agent: it calls the tool that it is told of, then says what it read.

`python -m tests.agents.engine --port N`. The tool is the offered one whose name ends with `gateway_status`;
once the conversation holds a tool's answer, the beginning of that answer becomes the text.
"""

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WANTED = "gateway_status"
READ = "The gateway says:"


def answer(body: dict[str, Any]) -> dict[str, Any]:
    """The message of the assistant."""
    messages = body.get("messages", [])
    results = [one for one in messages if one.get("role") == "tool"]
    if results:
        return {"role": "assistant", "content": f"{READ} {flat(results[-1].get('content'))[:400]}"}
    for tool in body.get("tools") or []:
        name = str(tool.get("function", {}).get("name", ""))
        if name.endswith(WANTED):
            call = {"name": name, "arguments": "{}"}
            calls = [{"index": 0, "id": "call_1", "type": "function", "function": call}]
            return {"role": "assistant", "content": None, "tool_calls": calls}
    return {"role": "assistant", "content": "no tool is offered"}


def flat(content: Any) -> str:
    """Text of either form."""
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content)
    return str(content)


class Handler(BaseHTTPRequestHandler):
    """Just enough of the OpenAI wire."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/health":
            self._json({"status": "ok"})
        else:
            self._json({"object": "list", "data": [{"id": "tiny", "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        message = answer(body)
        finish = "tool_calls" if message.get("tool_calls") else "stop"
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": finish}
            self._json(self._envelope("chat.completion", [choice]) | {"usage": usage})
            return
        kind = "chat.completion.chunk"
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for delta, end in ((message, None), ({}, finish)):
            choice = {"index": 0, "delta": delta, "finish_reason": end}
            self._event(self._envelope(kind, [choice]))
        self._event(self._envelope(kind, []) | {"usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _envelope(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": "a", "object": kind, "created": 1, "model": "tiny", "choices": choices}

    def _event(self, data: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(data).encode() + b"\n\n")

    def _json(self, data: dict[str, Any]) -> None:
        content = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Nothing: this is a test's engine."""


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), Handler).serve_forever()


if __name__ == "__main__":
    main()
