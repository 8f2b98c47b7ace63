"""Which processes count as engines and as gateways, by their words."""

import os

import pytest

from local_model_gateway.detection import processes


def row(*words: str) -> processes.Row:
    return processes.Row(7, 1, os.path.basename(words[0]), words, "running")  # noqa: PTH119 - a word


@pytest.mark.parametrize(
    ("words", "engine"),
    [
        (("/opt/llama.cpp/llama-server", "-m", "x.gguf"), True),
        (("/usr/bin/python3", "-m", "vllm.entrypoints.openai.api_server"), True),
        (("/usr/bin/python3", "/venv/bin/vllm", "serve", "x"), True),
        (("VLLM::EngineCore",), True),
        (("/usr/bin/python3", "-m", "mlx_lm.server"), True),
        (("/usr/bin/python3", "-m", "sglang.launch_server"), True),
        (("ollama", "serve"), True),
        (("/usr/bin/python3", "train_llms.py"), False),
        (("/opt/films/player",), False),
        (("/usr/bin/python3", "x.py", "a", "b", "--like", "ollama"), False),
    ],
)
def test_an_engine_is_known_by_a_word_of_its_own(words: tuple[str, ...], engine: bool) -> None:
    assert row(*words).engine is engine


@pytest.mark.parametrize(
    ("words", "gateway"),
    [
        (("/venv/bin/python", "-m", "local_model_gateway", "start", "--quiet"), True),
        (("/usr/bin/python3", "/home/me/.local/bin/lmg", "start"), True),
        (("/usr/bin/python3", "/home/me/.local/bin/lmg", "up", "--foreground"), True),
        (("/usr/bin/python3", "/home/me/.local/bin/lmg", "doctor"), False),
        (("/usr/bin/systemctl", "start", "lmg-other"), False),
        (("vim", "local_model_gateway"), False),
    ],
)
def test_a_gateway_is_known_by_its_verb(words: tuple[str, ...], gateway: bool) -> None:
    assert row(*words).gateway is gateway


def test_a_table_is_read_once_and_knows_families_and_listeners() -> None:
    table = processes.Table()
    assert table.rows() is table.rows()
    assert os.getpid() in table.family(os.getppid())
    assert table.family(None) == frozenset()
    assert table.family(4_194_303) == frozenset()
