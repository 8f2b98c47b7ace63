"""What clients' own settings say of where they send their requests."""

from pathlib import Path

from local_model_gateway.doctor import client_files
from tests.doctor import cases


def found(tmp_path: Path, config: str, *ports: int, **env: str) -> list[str]:
    path = tmp_path / ".codex" / "config.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(config)
    subject = cases.case(tmp_path, ports=ports, env={"PATH": "", **env})
    return [one.id for one in client_files.clients(subject)]


def test_a_port_that_only_begins_like_an_engines_is_not_the_engine(tmp_path: Path) -> None:
    assert found(tmp_path, "x = 'http://127.0.0.1:12345/v1'", 1234) == ["CLIENTS"]
    assert found(tmp_path, "x = 'http://127.0.0.1:1234/v1'", 1234) == ["CLIENT-BYPASS"]
    assert found(tmp_path, "x = '127.0.0.1:12345 127.0.0.1:1234'", 1234) == ["CLIENT-BYPASS"]


def test_a_port_that_only_begins_like_ours_is_not_the_gateway(tmp_path: Path) -> None:
    engine = "x = 'http://localhost:1234/v1'\n"
    assert found(tmp_path, f"{engine}y = 'http://127.0.0.1:8787'", 1234) == ["CLIENTS"]
    assert found(tmp_path, f"{engine}y = 'http://127.0.0.1:87870'", 1234) == ["CLIENT-BYPASS"]


def test_a_variable_whose_port_only_begins_like_an_engines_is_left_alone(tmp_path: Path) -> None:
    address = "http://127.0.0.1:12345/v1"
    assert found(tmp_path, "", 1234, OPENAI_BASE_URL=address) == ["CLIENTS"]
    assert found(tmp_path, "", 12345, OPENAI_BASE_URL=address) == ["CLIENT-BYPASS"]
