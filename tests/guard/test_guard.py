"""What every answer carries, how bodies are limited, and that streams and departures pass through untouched."""

import json
import logging

import anyio
import pytest

from tests.guard import app, battery

KEY = "k" * 40


async def test_every_answer_carries_an_id_and_the_protective_headers() -> None:
    async with app.served() as served:
        answers = [
            await served.ask(battery.get(b"/health")),
            await served.ask(battery.get(b"/nowhere")),
            await served.ask(battery.get(b"/boom")),
            await served.ask(battery.get(host=b"Host: evil.example\r\n")),
        ]
    assert [answer.status for answer in answers] == [200, 404, 500, 421]
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers


@pytest.mark.parametrize(
    ("given", "kept"), [(b"my-own-id-7", True), (b"short", False), (b"a b c d e f g", False)]
)
async def test_a_callers_own_request_id_is_kept_when_it_is_a_plain_word(
    given: bytes, kept: bool
) -> None:
    async with app.served() as served:
        answer = await served.ask(battery.get(more=b"X-Request-Id: " + given + b"\r\n"))
    assert (answer.headers["x-request-id"] == given.decode()) is kept


async def test_an_exception_becomes_a_constant_body_and_a_log_line_with_the_same_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with app.served() as served:
        answer = await served.ask(battery.get(b"/boom"))
    assert answer.status == 500
    assert app.CANARY.encode() not in answer.body
    assert answer.headers["x-request-id"] in str(answer.error["message"])
    logged = [record for record in caplog.records if record.exc_info]
    assert app.CANARY in str(logged[0].exc_info)
    assert vars(logged[0])["fields"]["request_id"] == answer.headers["x-request-id"]


async def test_an_exception_in_mid_answer_cuts_the_connection_visibly() -> None:
    async with app.served() as served:
        answer = await served.ask(battery.get(b"/boom-late"))
    assert answer.status == 200
    assert b"data: 1" in answer.body
    assert not answer.whole


async def test_an_application_that_says_nothing_is_answered_for() -> None:
    async with app.served() as served:
        answer = await served.ask(battery.get(b"/silent"))
    assert (answer.status, answer.error["code"]) == (500, "internal_error")


async def test_a_refused_body_is_refused_also_when_the_application_swallows_the_refusal() -> None:
    piece = b"400\r\n" + b" " * 1024 + b"\r\n"
    sent = battery.chunked(piece * 3 + b"0\r\n\r\n").replace(b"/v1/chat/completions", b"/swallow")
    async with app.served(max_body=2048) as served:
        answer = await served.ask(sent)
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")


async def test_a_body_of_exactly_the_limit_is_taken() -> None:
    async with app.served(max_body=2048) as served:
        taken = await served.ask(battery.post(b" " * 2048))
        refused = await served.ask(battery.post(b" " * 2049))
    assert (taken.status, refused.status) == (200, 413)


async def test_the_connection_is_usable_after_a_refusal() -> None:
    async with app.served(max_body=2048) as served, await served.connect() as stream:
        with anyio.fail_after(app.LIMIT_S):
            await stream.send(served.filled(battery.post(b" " * 100_000)))
            refused = await app.read_answer(stream)
            await stream.send(served.filled(battery.get(b"/health")))
            taken = await app.read_answer(stream)
    assert (refused.status, taken.status) == (413, 200)


async def test_a_body_that_stops_arriving_is_given_up() -> None:
    head = battery.post(b"{}").replace(b"Content-Length: 2", b"Content-Length: 100")
    async with app.served(body_timeout=0.2) as served:
        answer = await served.ask(head)
    assert (answer.status, answer.error["code"]) == (408, "request_timeout")


async def test_a_body_that_drips_is_given_up() -> None:
    head = battery.post(b"").replace(b"Content-Length: 0", b"Content-Length: 1000000")
    async with app.served(body_timeout=0.5) as served, await served.connect() as stream:
        with anyio.fail_after(app.LIMIT_S):
            await stream.send(served.filled(head))
            async with anyio.create_task_group() as tasks:

                async def drip() -> None:
                    while True:
                        await stream.send(b" ")
                        await anyio.sleep(
                            0.05
                        )  # slower than the lowest rate, faster than the patience

                tasks.start_soon(drip)
                answer = await app.read_answer(stream)
                tasks.cancel_scope.cancel()
    assert answer.status == 408


@pytest.mark.parametrize("begun", [b"", b"GET /health HTTP/1.1\r\n", b"GET /health HT"])
async def test_a_head_that_does_not_come_is_given_up(begun: bytes) -> None:
    async with app.served(head_timeout=0.2) as served:
        answer = await served.ask(begun)
    assert answer.status == (408 if begun else 0)


async def test_a_second_head_that_does_not_come_is_given_up_too() -> None:
    async with app.served(head_timeout=0.2) as served, await served.connect() as stream:
        with anyio.fail_after(app.LIMIT_S):
            await stream.send(served.filled(battery.get(b"/health")))
            assert (await app.read_answer(stream)).status == 200
            await stream.send(b"GET /hea")
            assert (await app.read_answer(stream)).status == 408


async def test_a_stream_arrives_piece_by_piece() -> None:
    async with app.served() as served, await served.connect() as stream:
        with anyio.fail_after(app.LIMIT_S):
            await stream.send(served.filled(battery.get(b"/stream")))
            async for line in app.lines(stream):
                if b"data: one" in line:
                    break
    # The application never ended its answer: what was read came while it was still running.


@pytest.mark.parametrize("path", [b"/hold", b"/stream"])
@pytest.mark.parametrize("pipelined", [b"", battery.get(b"/health"), battery.get(b"/health") * 20])
async def test_the_application_learns_that_its_client_left(path: bytes, pipelined: bytes) -> None:
    async with app.served() as served:
        stream = await served.connect()
        with anyio.fail_after(app.LIMIT_S):
            await stream.send(served.filled(battery.get(path)))
            if pipelined:
                await stream.send(served.filled(pipelined[: len(pipelined) // 2]))
                await stream.send(served.filled(pipelined[len(pipelined) // 2 :]))
            await stream.aclose()
            await served.app.gone.wait()


async def test_the_application_learns_that_its_client_left_after_its_body() -> None:
    sent = battery.post(b" " * 300_000, path=b"/hold")
    async with app.served() as served:
        stream = await served.connect()
        with anyio.fail_after(app.LIMIT_S):
            await stream.send(served.filled(sent))
            await stream.aclose()
            await served.app.gone.wait()


async def test_half_a_body_is_never_taken_for_a_whole_one() -> None:
    half = battery.post(b"{}", path=b"/mcp").replace(b"Content-Length: 2", b"Content-Length: 9")
    async with app.served() as served:
        stream = await served.connect()
        with anyio.fail_after(app.LIMIT_S):
            await stream.send(served.filled(half))
            await stream.aclose()
            while "/mcp" not in served.app.reached:
                await anyio.lowlevel.checkpoint()
        assert (await served.ask(battery.get(b"/health"))).status == 200
        assert served.app.bodies == []
        assert (await served.ask(battery.post(b"{}", path=b"/mcp"))).status == 200
        assert served.app.bodies == [b"{}"]


async def test_pipelined_requests_are_answered_in_order() -> None:
    two = battery.get(b"/health") + battery.get(b"/nowhere")
    async with app.served() as served, await served.connect() as stream:
        with anyio.fail_after(app.LIMIT_S):
            await stream.send(served.filled(two))
            received = b""
            while b'"not_found"' not in received:
                received += await stream.receive()
    assert received.index(b"HTTP/1.1 200") < received.index(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    ("more", "status"),
    [
        (b"", 401),
        (b"Authorization: Bearer " + KEY.encode() + b"\r\n", 200),
        (b"authorization:   bearer   " + KEY.encode() + b"  \r\n", 200),
        (b"X-Api-Key: " + KEY.encode() + b"\r\n", 200),
        (b"X-Api-Key: %b\r\nAuthorization: Bearer %b\r\n" % ((KEY.encode(),) * 2), 200),
        (b"X-Api-Key: %b\r\nAuthorization: Bearer other\r\n" % KEY.encode(), 401),
        (b"Authorization: Bearer other\r\nAuthorization: Bearer %b\r\n" % KEY.encode(), 401),
        (b"Authorization: Basic " + KEY.encode() + b"\r\n", 401),
        (b"Authorization: " + KEY.encode() + b"\r\n", 401),
        (b"Authorization: Bearer\r\n", 401),
        (b"Authorization: Bearer \xe9t\xe9\r\n", 401),
        (b"Authorization: Bearer " + KEY[:-1].encode() + b"\r\n", 401),
        (b"Authorization: Bearer " + KEY.encode() + b"k\r\n", 401),
        (b"Cookie: key=" + KEY.encode() + b"\r\n", 401),
        (b"X-Api-Key: \r\n", 401),
    ],
)
async def test_only_the_whole_key_opens_the_door(more: bytes, status: int) -> None:
    async with app.served(keys={"laptop": KEY}) as served:
        answer = await served.ask(battery.get(more=more))
        query = await served.ask(battery.get(b"/v1/models?api_key=" + KEY.encode()))
    assert (answer.status, query.status) == (status, 401)
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.error["code"] == "invalid_api_key"


@pytest.mark.parametrize("path", [b"/", b"/mcp", b"/status", b"/nowhere", b"/boom", b"/hold"])
async def test_every_route_but_health_asks_for_the_key(path: bytes) -> None:
    async with app.served(keys={"laptop": KEY}) as served:
        assert (await served.ask(battery.get(path))).status == 401
        assert (await served.ask(battery.get(b"/health"))).status == 200


async def test_the_application_is_told_whose_key_it_was() -> None:
    more = battery.JSON + b"X-Api-Key: " + KEY.encode() + b"\r\n"
    async with app.served(keys={"laptop": KEY, "other": "o" * 40}) as served:
        answer = await served.ask(battery.post(path=b"/echo", more=more))
    assert json.loads(answer.body)["caller"] == "laptop"


async def test_a_configured_origin_gets_exactly_its_own_permission() -> None:
    origin = b"Origin: http://localhost:3000\r\n"
    preflight = b"OPTIONS /v1/models HTTP/1.1\r\n" + battery.HOST + origin
    preflight += b"Access-Control-Request-Method: POST\r\n\r\n"
    async with app.served(allowed_origins=("http://localhost:3000",), keys={"a": KEY}) as served:
        asked = await served.ask(preflight)
        refused = await served.ask(battery.get(more=origin))
        other = await served.ask(battery.get(more=b"Origin: http://localhost:3001\r\n"))
    assert asked.status == 204
    assert asked.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert (refused.status, other.status) == (401, 403)


async def test_a_configured_host_is_answered() -> None:
    async with app.served(allowed_hosts=("gateway.lan:8787",)) as served:
        answer = await served.ask(battery.get(host=b"Host: Gateway.LAN:8787\r\n"))
    assert answer.status == 200


async def test_too_many_requests_are_turned_away_and_health_is_not() -> None:
    async with app.served(max_connections=8) as served, anyio.create_task_group() as tasks:
        held = [await served.connect() for _ in range(8)]
        for stream in held:
            await stream.send(served.filled(battery.get(b"/hold")))
        with anyio.fail_after(app.LIMIT_S):
            while served.app.reached.count("/hold") < 8:
                await anyio.lowlevel.checkpoint()
        refused = await served.ask(battery.get())
        health = await served.ask(battery.get(b"/health"))
        for stream in held:
            await stream.aclose()
        tasks.cancel_scope.cancel()
    assert (refused.status, refused.error["code"]) == (503, "overloaded")
    assert refused.headers["retry-after"] == "1"
    assert health.status == 200


async def test_connections_beyond_all_bounds_are_turned_away_in_words() -> None:
    async with app.served(max_connections=8) as served:
        held = [await served.connect() for _ in range(8 + 64)]
        for stream in held:  # each has been accepted once it is answered
            await stream.send(served.filled(battery.get(b"/health")))
            assert (await app.read_answer(stream)).status == 200
        refused = await served.ask(b"")
        await held.pop().aclose()
        with anyio.fail_after(app.LIMIT_S):
            while (await served.ask(battery.get(b"/health"))).status != 200:
                await anyio.lowlevel.checkpoint()
        for stream in held:
            await stream.aclose()
    assert (refused.status, refused.error["code"]) == (503, "overloaded")


async def test_a_request_leaves_one_line_without_its_query(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "lmg.request")
    async with app.served() as served:
        await served.ask(battery.get(b"/nowhere?prompt=canary"))
        await served.ask(battery.get(b"/health"))
    lines = [vars(record)["fields"] for record in caplog.records if record.name == "lmg.request"]
    assert len(lines) == 1
    assert (lines[0]["path"], lines[0]["status"]) == ("/nowhere", 404)
    assert "canary" not in caplog.text
