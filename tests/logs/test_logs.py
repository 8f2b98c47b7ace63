"""One line a request, in either form, that nobody can forge and that holds no secret."""

import io
import json
import logging
import sys
from pathlib import Path

import pytest

from local_model_gateway import logs
from local_model_gateway.redact import Redactor

CANARY = "canary-0123456789"


def test_a_request_is_one_json_object_with_what_is_known_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "logs" / "gateway.log"
    with logs.written(Redactor(), form="json", file=file):
        line = logs.RequestLine()
        line.begin("POST", "/v1/chat/completions", "req_1")
        line.set(model="tiny", queue_ms=3, tokens=9)
        line.status(200)
        line.end()
    written = json.loads(file.read_text())
    assert written == json.loads(capsys.readouterr().err)
    assert written["message"] == "request"
    assert (written["model"], written["tokens"], written["outcome"]) == ("tiny", 9, "ok")
    assert written["status"] == 200
    assert file.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_message_can_forge_a_second_line(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    hostile = "a\nb\r\nc\x1b[2Kd\u2028e\x00"
    with logs.written(Redactor(), form=form):
        logging.getLogger("x").info("said %s", hostile, extra={"fields": {"path": hostile}})
    text = stream.getvalue()
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text
    assert "\x00" not in text


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_secret_is_in_no_part_of_a_line(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with logs.written(Redactor([CANARY]), form=form):
        try:
            raise RuntimeError(f"in an error {CANARY}")
        except RuntimeError:
            logging.getLogger("x").exception("with %s", CANARY, extra={"fields": {"a": CANARY}})
    assert "RuntimeError" in stream.getvalue()
    assert CANARY not in stream.getvalue()


@pytest.mark.parametrize(
    ("path", "status", "said"), [("/health", 200, 0), ("/health", 503, 1), ("/v1/models", 200, 1)]
)
def test_polling_leaves_a_line_only_when_it_fails(
    path: str, status: int, said: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    line = logs.RequestLine()
    line.begin("GET", path, "req_1")
    line.status(status)
    line.end()
    assert len(caplog.records) == said


def test_what_clients_do_wrong_to_the_server_library_is_not_logged_twice(
    tmp_path: Path,
) -> None:
    file = tmp_path / "gateway.log"
    with logs.written(Redactor(), file=file):
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
        logging.getLogger("uvicorn.error").warning("something else")
    assert "Invalid" not in file.read_text()
    assert "something else" in file.read_text()


def test_logging_is_as_before_afterwards() -> None:
    before = logging.getLogger().handlers[:]
    with logs.written(Redactor()):
        pass
    assert logging.getLogger().handlers == before
