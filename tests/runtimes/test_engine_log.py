"""An engine's log: progress, causes, and a tail that can be shown."""

from pathlib import Path

import pytest

from runtimes import base, engine_log
from tests.runtimes import conformance, engines

Failure = base.FailureClass


def log(path: Path, engine: str | None = None) -> engine_log.EngineLog:
    recipe = conformance.shipped(engine) if engine else engines.recipe()
    return engine_log.EngineLog(path, recipe, lambda line: line.replace("hunter2", "[redacted]"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            'cmd_child_to_router:state:{"state":"loading","payload":{"stages":["text_model"],'
            '"current":"text_model","value":0.387}}',
            base.LoadProgress("weights", 0.387),
        ),
        (
            "Loading safetensors checkpoint shards:  45% Completed | 5/11 [00:06<00:07]",
            base.LoadProgress("weights", 0.45),
        ),
        ("Loading weights: 3/12", base.LoadProgress("weights", 0.25)),
        ("INFO Capturing CUDA graph shapes", base.LoadProgress("compile", None)),
        ("warming up the model with an empty run", base.LoadProgress("warm-up", None)),
        ("GET /health 503", None),
    ],
)
def test_a_line_tells_how_far_a_load_is(
    tmp_path: Path, line: str, expected: base.LoadProgress | None
) -> None:
    assert log(tmp_path / "x.log").progress(["something", line]) == expected


@pytest.mark.parametrize(
    ("engine", "line", "expected"),
    [
        ("llama-server", "ggml_backend_cuda_buffer_type_alloc_buffer: unable to allocate CUDA0 buffer", Failure.OUT_OF_MEMORY),
        ("llama-server", "error: invalid argument: --nope", Failure.BAD_FLAG),
        ("llama-server", "couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8080", Failure.PORT_IN_USE),
        ("llama-server", "gguf_init_from_file: failed to open GGUF file 'x.gguf'", Failure.MODEL_MISSING),
        ("vllm", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", Failure.OUT_OF_MEMORY),
        ("vllm", "ValueError: Free memory on device (10/80 GiB) on startup is less than desired", Failure.OUT_OF_MEMORY),
        ("vllm", "vllm: error: unrecognized arguments: --nope", Failure.BAD_FLAG),
        ("sglang", "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.", Failure.OUT_OF_MEMORY),
        (None, "OSError: [Errno 98] error while attempting to bind: address already in use", Failure.PORT_IN_USE),
        (None, "nothing that anybody knows", Failure.UNKNOWN),
    ],
)  # fmt: skip
async def test_the_last_words_of_known_engines_are_understood(
    tmp_path: Path, engine: str | None, line: str, expected: base.FailureClass
) -> None:
    path = tmp_path / "x.log"
    path.write_text(f"starting\n{line}\nTraceback follows\n")
    made = log(path, engine)
    await made.finish()
    assert made.failure(1) is expected


async def test_killed_by_the_kernel_is_out_of_memory(tmp_path: Path) -> None:
    assert log(tmp_path / "x.log").failure(-9) is Failure.OUT_OF_MEMORY
    assert log(tmp_path / "x.log").failure(1) is Failure.UNKNOWN


async def test_the_tail_is_short_redacted_and_printable(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    lines = [f"line {number}" for number in range(500)]
    path.write_bytes(("\n".join(lines) + "\n\x1b[31mkey hunter2\x1b[0m \x07\xff").encode("latin-1"))
    made = log(path)
    await made.finish()
    assert len(made.tail()) == 20
    assert made.tail()[-1] == "key [redacted] \ufffd".replace(" \ufffd", "  \ufffd")
    assert made.tail(0) == ()


async def test_a_progress_bar_is_many_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"10%\r20%\r30%\r")
    assert await log(path).read() == ["10%", "20%", "30%"]


async def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("one\ntw")
    made = log(path)
    assert await made.read() == ["one"]
    with path.open("a") as file:
        file.write("o\nthree\n")
    assert await made.read() == ["two", "three"]


async def test_a_log_that_grows_for_ever_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_log, "ROTATE_BYTES", 1000)
    path = tmp_path / "x.log"
    made = log(path)
    with path.open("a") as engine:
        for number in range(100):
            engine.write(f"a line of some length, number {number}\n")
            engine.flush()
            await made.read()
    assert path.stat().st_size < 2000
    assert made.tail(1) == ("a line of some length, number 99",)
    assert (tmp_path / "x.log.1").exists()


async def test_a_missing_log_is_an_empty_one(tmp_path: Path) -> None:
    made = log(tmp_path / "nowhere.log")
    await made.finish()
    assert made.tail() == ()
