"""The small HTTP client, against engines of a few bytes."""

import anyio
import pytest

from runtimes import http_relay
from tests.upstream import scripted

IMPATIENT = http_relay.Patience(connect_s=5, first_byte_s=0.2, between_s=0.2)


async def _whole(relay: http_relay.Relay, url: str, body: bytes = b"{}") -> bytes:
    async with relay.post(url, "/v1/x", body) as exchange:
        return await exchange.read_all(1 << 20)


async def test_an_answer_is_relayed_and_its_connection_is_used_again() -> None:
    async def script(talk: scripted.Talk) -> None:
        while True:
            await talk.request()
            await talk.say(scripted.HEAD, scripted.chunks(b"one", b"two"))

    with anyio.fail_after(20):
        async with scripted.engine(script) as engine, http_relay.Relay() as relay:
            assert await _whole(relay, engine.base_url) == b"onetwo"
            assert await _whole(relay, engine.base_url) == b"onetwo"

            assert engine.connections == 1
            assert engine.requests[0].startswith(b"POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1:")


async def test_a_connection_that_the_engine_closed_while_idle_is_replaced_silently() -> None:
    closed = anyio.Event()

    async def script(talk: scripted.Talk) -> None:
        await talk.request()
        await talk.say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await talk.stream.aclose()
        closed.set()

    with anyio.fail_after(20):
        async with scripted.engine(script) as engine, http_relay.Relay() as relay:
            assert await _whole(relay, engine.base_url) == b"ok"
            await closed.wait()
            assert await _whole(relay, engine.base_url) == b"ok"

            assert engine.connections == 2
            assert len(engine.requests) == 2


async def test_a_request_that_may_have_been_processed_is_never_sent_again() -> None:
    async def script(talk: scripted.Talk) -> None:
        await talk.request()
        if len(talk.requests) == 1:
            await talk.say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            await talk.request()
        await talk.stream.aclose()

    with anyio.fail_after(20):
        async with scripted.engine(script) as engine, http_relay.Relay() as relay:
            assert await _whole(relay, engine.base_url) == b"ok"
            with pytest.raises(http_relay.UpstreamError) as caught:
                await _whole(relay, engine.base_url)

            assert caught.value.kind == "broke_before_first_byte"
            assert len(engine.requests) == 2


async def test_a_new_connection_that_breaks_is_not_tried_again() -> None:
    async def script(talk: scripted.Talk) -> None:
        await talk.stream.receive()
        await talk.stream.aclose()

    with anyio.fail_after(20):
        async with scripted.engine(script) as engine, http_relay.Relay() as relay:
            with pytest.raises(http_relay.UpstreamError) as caught:
                await _whole(relay, engine.base_url, b"x" * 20_000_000)

            assert caught.value.kind == "broke_before_first_byte"
            assert engine.connections == 1


async def test_an_answer_before_the_request_has_gone_out_is_still_an_answer() -> None:
    async def script(talk: scripted.Talk) -> None:
        await talk.stream.receive()
        await talk.say(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await anyio.sleep_forever()  # and the rest is never read

    with anyio.fail_after(20):
        async with (
            scripted.engine(script) as engine,
            http_relay.Relay() as relay,
            relay.post(engine.base_url, "/v1/x", b"x" * 20_000_000) as exchange,
        ):
            assert exchange.status == 413
            assert await exchange.read_all(100) == b"no"


async def test_an_engine_that_takes_nothing_in_is_given_up() -> None:
    async def script(talk: scripted.Talk) -> None:
        await anyio.sleep_forever()

    with anyio.fail_after(20):
        async with scripted.engine(script) as engine, http_relay.Relay(IMPATIENT) as relay:
            with pytest.raises(http_relay.UpstreamError) as caught:
                await _whole(relay, engine.base_url, b"x" * 20_000_000)

    assert caught.value.kind == "stalled"


async def test_leaving_before_the_end_hangs_up_on_the_engine() -> None:
    hung_up = anyio.Event()

    async def script(talk: scripted.Talk) -> None:
        await talk.request()
        await talk.say(scripted.HEAD, b"3\r\nabc\r\n")
        await talk.gone()
        hung_up.set()

    with anyio.fail_after(20):
        async with scripted.engine(script) as engine, http_relay.Relay() as relay:
            async with relay.post(engine.base_url, "/v1/x", b"{}") as exchange:
                assert await exchange.read() == b"abc"
            await hung_up.wait()
            assert relay.idle(engine.base_url) == 0


async def test_cancelling_while_the_engine_thinks_hangs_up_on_it() -> None:
    asked, hung_up = anyio.Event(), anyio.Event()

    async def script(talk: scripted.Talk) -> None:
        await talk.request()
        asked.set()
        await talk.gone()
        hung_up.set()

    with anyio.fail_after(20):
        async with scripted.engine(script) as engine, http_relay.Relay() as relay:
            async with anyio.create_task_group() as group:
                group.start_soon(_whole, relay, engine.base_url)
                await asked.wait()
                group.cancel_scope.cancel()
            await hung_up.wait()


async def _say_and_close(talk: scripted.Talk, *pieces: bytes) -> None:
    await talk.request()
    await talk.say(*pieces)
    await talk.stream.aclose()


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ((), "broke_before_first_byte"),
        ((b"HTTP/1.1 200",), "garbage"),
        ((b"\x16\x03\x01 hello",), "garbage"),
        ((b"HTTP/1.1 abc OK\r\n\r\n",), "garbage"),
        ((b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",), "garbage"),
        ((b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",), "garbage"),
        ((b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000,), "garbage"),
        ((scripted.HEAD, b"3\r\nab"), "broke_mid_stream"),
        ((scripted.HEAD, b"3\r\nabc\r\n"), "broke_mid_stream"),
        ((scripted.HEAD, b"nonsense\r\n"), "garbage"),
        ((b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",), "broke_mid_stream"),
    ],
)
async def test_each_way_to_break_has_its_kind(pieces: tuple[bytes, ...], kind: str) -> None:
    async def script(talk: scripted.Talk) -> None:
        await _say_and_close(talk, *pieces)

    with anyio.fail_after(20):
        async with scripted.engine(script) as engine, http_relay.Relay() as relay:
            with pytest.raises(http_relay.UpstreamError) as caught:
                await _whole(relay, engine.base_url)

            assert caught.value.kind == kind
            assert relay.idle(engine.base_url) == 0


async def test_nobody_listening_is_refused() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    await listener.aclose()

    async with http_relay.Relay() as relay:
        with pytest.raises(http_relay.UpstreamError) as caught:
            await _whole(relay, f"http://127.0.0.1:{port}")

    assert caught.value.kind == "refused"


@pytest.mark.parametrize("begin", [False, True])
async def test_an_engine_that_goes_silent_is_given_up(begin: bool) -> None:
    async def script(talk: scripted.Talk) -> None:
        await talk.request()
        if begin:
            await talk.say(scripted.HEAD, b"3\r\nabc\r\n")
        await talk.gone()

    with anyio.fail_after(20):
        async with scripted.engine(script) as engine, http_relay.Relay(IMPATIENT) as relay:
            with pytest.raises(http_relay.UpstreamError) as caught:
                await _whole(relay, engine.base_url)

    assert caught.value.kind == "stalled"


async def test_interim_answers_are_skipped() -> None:
    async def script(talk: scripted.Talk) -> None:
        interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        await _say_and_close(talk, interim + b"HTTP/1.1 200 OK\r\n\r\nbody")

    with anyio.fail_after(20):
        async with scripted.engine(script) as engine, http_relay.Relay() as relay:
            assert await _whole(relay, engine.base_url) == b"body"


async def test_a_connection_that_the_engine_will_close_is_not_kept() -> None:
    async def script(talk: scripted.Talk) -> None:
        await talk.request()
        await talk.say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        await talk.gone()

    with anyio.fail_after(20):
        async with scripted.engine(script) as engine, http_relay.Relay() as relay:
            assert await _whole(relay, engine.base_url) == b"ok"
            assert relay.idle(engine.base_url) == 0


async def test_connections_to_an_engine_that_is_not_asked_any_more_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hung_up = anyio.Event()

    async def old(talk: scripted.Talk) -> None:
        await talk.request()
        await talk.say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await talk.gone()
        hung_up.set()

    async def new(talk: scripted.Talk) -> None:
        await talk.request()
        await talk.say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await talk.gone()

    monkeypatch.setattr(http_relay, "IDLE_S", 0.0)
    with anyio.fail_after(20):
        async with (
            scripted.engine(old) as one,
            scripted.engine(new) as two,
            http_relay.Relay() as relay,
        ):
            await _whole(relay, one.base_url)
            assert relay.idle(one.base_url) == 1
            await _whole(relay, two.base_url)
            await hung_up.wait()
            assert relay.idle(one.base_url) == 0


async def test_a_line_break_in_a_header_is_refused_before_anything_is_sent() -> None:
    relay = http_relay.Relay()

    with pytest.raises(ValueError, match="line break"):
        relay.post("http://127.0.0.1:1", "/", b"{}", {"x": "a\r\ny: b"})


async def test_a_reader_that_is_slow_holds_the_engine_back() -> None:
    written = 0
    piece = b"x" * 65536

    async def script(talk: scripted.Talk) -> None:
        nonlocal written
        await talk.request()
        await talk.say(scripted.HEAD)
        for _ in range(1000):
            await talk.say(b"10000\r\n" + piece + b"\r\n")
            written += len(piece)

    with anyio.fail_after(30):
        async with (
            scripted.engine(script) as engine,
            http_relay.Relay() as relay,
            relay.post(engine.base_url, "/v1/x", b"{}") as exchange,
        ):
            await exchange.read()
            before = -1
            while written != before:  # until the kernel's buffers are full and nothing moves
                before = written
                await anyio.wait_all_tasks_blocked()

    assert written < 16 << 20
