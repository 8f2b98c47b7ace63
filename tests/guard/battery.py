"""Bad requests as data: raw bytes in, the only acceptable statuses out. `{port}` is filled in.

Add a line to add a case; `test_battery.py` runs all of them against a real socket.
"""

from collections.abc import Iterator
from dataclasses import dataclass

HOST = b"Host: 127.0.0.1:{port}\r\n"
JSON = b"Content-Type: application/json\r\n"


@dataclass(frozen=True, slots=True)
class Case:
    """One bad request. Status 0 stands for a connection closed without an answer."""

    name: str
    sent: bytes
    statuses: tuple[int, ...]
    code: str | None = None
    """The error's code, where it is part of the promise."""
    reaches: bool = False
    """Whether the application may see it."""


def get(path: bytes = b"/v1/models", host: bytes = HOST, more: bytes = b"") -> bytes:
    """A GET with exactly these bytes in its head."""
    return b"GET " + path + b" HTTP/1.1\r\n" + host + more + b"\r\n"


def post(
    body: bytes = b"{}",
    path: bytes = b"/v1/chat/completions",
    more: bytes = JSON,
    host: bytes = HOST,
) -> bytes:
    """A POST with a right length."""
    length = b"Content-Length: %d\r\n" % len(body)
    return b"POST " + path + b" HTTP/1.1\r\n" + host + more + length + b"\r\n" + body


def chunked(body: bytes, more: bytes = b"Transfer-Encoding: chunked\r\n") -> bytes:
    """A POST whose body is `body` as it stands, chunk framing included."""
    return b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + JSON + more + b"\r\n" + body


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _hosts()
    yield from _origins()
    yield from _media()
    yield from _framing()
    yield from _heads()
    yield from _paths()
    yield from _sizes()


_FOREIGN_HOSTS = (
    b"evil.example",
    b"evil.example:{port}",
    b"rebind.local:{port}",
    b"rebind.internal:{port}",
    b"127.0.0.1",
    b"127.0.0.1:1",
    b"localhost",
    b"localhost.:{port}",
    b"localhost:{port}.evil.example",
    b"127.0.0.1:{port}@evil.example",
    b"127.0.0.1.nip.io:{port}",
    b"127.1:{port}",
    b"0.0.0.0:{port}",
    b"[::]:{port}",
    b"[::1]",
    b"[::ffff:127.0.0.1]:{port}",
    b"2130706433:{port}",
    b"0x7f000001:{port}",
    b"192.168.1.1:{port}",
    b"127.0.0.1:{port}, evil.example",
    b"127.0.0.1:0{port}",
    b"127.0.0.1:+{port}",
    b"127.0.0.1:{port}#",
    b"127.0.0.1:{port}/",
    b"x/path?127.0.0.1:{port}",
    b"",
    b" ",
    b"\xff",
)
_ROUTES = (
    b"/",
    b"/health",
    b"/ready",
    b"/status",
    b"/metrics",
    b"/dashboard",
    b"/mcp",
    b"/v1/models",
    b"/nowhere",
    b"/.well-known/oauth-protected-resource",
    b"/.well-known/local-model-gateway.json",
    b"/register",
    b"/llms.txt",
    b"/v1/models/tiny",
    b"/v1/jobs",
    b"/v1/jobs/x",
    b"/api/tags",
    b"/api/events",
    b"/admin/runtimes/tiny/log",
)
_POSTS = (
    b"/v1/chat/completions",
    b"/v1/completions",
    b"/v1/embeddings",
    b"/v1/responses",
    b"/v1/messages",
    b"/v1/jobs",
    b"/mcp",
    b"/admin/runtimes/tiny/load",
    b"/admin/runtimes/tiny/unload",
    b"/admin/queue/pause",
    b"/admin/work/x/cancel",
    b"/admin/shutdown",
)


def _hosts() -> Iterator[Case]:
    for host in _FOREIGN_HOSTS:
        head = b"Host: " + host + b"\r\n"
        # A value that is no authority at all is refused as malformed.
        yield Case(f"host {host!r}", get(host=head), (421, 400))
    for route in _ROUTES:
        head = b"Host: evil.example:{port}\r\n"
        yield Case(f"foreign host on {route!r}", get(route, head), (421,), "host_not_allowed")
    for route in _POSTS:
        foreign = b"Host: evil.example:{port}\r\n"
        yield Case(f"foreign host posts to {route!r}", post(path=route, host=foreign), (421,))
    yield Case("no host", get(host=b""), (421,), "host_not_allowed")
    yield Case("two hosts", get(host=HOST + b"Host: evil.example\r\n"), (421,), "host_not_allowed")
    yield Case("the right host twice", get(host=HOST + HOST), (421,), "host_not_allowed")
    yield Case("no host in HTTP/1.0", b"GET /health HTTP/1.0\r\n\r\n", (421,), "host_not_allowed")
    forwarded = b"Host: evil.example\r\nX-Forwarded-Host: 127.0.0.1:{port}\r\n"
    yield Case("a forwarded host", get(host=forwarded), (421,), "host_not_allowed")
    absolute = get(b"http://127.0.0.1:{port}/v1/models", b"Host: evil.example\r\n")
    yield Case("an absolute target with a foreign host", absolute, (421,), "host_not_allowed")


_FOREIGN_ORIGINS = (
    b"http://evil.example",
    b"https://127.0.0.1:{port}",
    b"http://127.0.0.1",
    b"http://localhost:3000",
    b"http://localhost",
    b"http://127.0.0.1:{port}.evil.example",
    b"http://127.0.0.1:{port}/",
    b"null",
    b"",
    b"file://",
    b"app://local",
    b"chrome-extension://abcdef",
    b"http://[::1]",
    b"*",
)


def _origins() -> Iterator[Case]:
    for origin in _FOREIGN_ORIGINS:
        more = b"Origin: " + origin + b"\r\n"
        yield Case(f"origin {origin!r}", get(more=more), (403,), "origin_not_allowed")
    for route in _ROUTES:
        more = b"Origin: http://evil.example\r\n"
        yield Case(
            f"foreign origin on {route!r}", get(route, more=more), (403,), "origin_not_allowed"
        )
    for route in _POSTS:
        more = JSON + b"Origin: http://evil.example\r\n"
        yield Case(f"foreign page posts to {route!r}", post(path=route, more=more), (403,))
        form = b"Content-Type: text/plain\r\n"
        yield Case(f"a form posts to {route!r}", post(path=route, more=form), (415,))
    ours = b"Origin: http://127.0.0.1:{port}\r\n"
    two = ours + b"Origin: http://evil.example\r\n"
    yield Case("two origins", get(more=two), (403,), "origin_not_allowed")
    for site in (b"cross-site", b"same-site", b"CROSS-SITE", b"nonsense", b""):
        more = b"Sec-Fetch-Site: " + site + b"\r\n"
        yield Case(f"fetched from {site!r}", get(more=more), (403,), "origin_not_allowed")
    yield Case(
        "a foreign page's form",
        post(
            b"a=b",
            more=b"Origin: http://evil.example\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        ),
        (403,),
        "origin_not_allowed",
    )


_MEDIA = (
    b"text/plain",
    b"text/plain;application/json",
    b"application/x-www-form-urlencoded",
    b"multipart/form-data; boundary=x",
    b"application/jsonp",
    b"application/json; charset=utf-16",
    b"application/json; charset=latin-1",
    b"application/json, text/plain",
    b"json",
    b"*/*",
    b"",
    b"application/octet-stream",
)


def _media() -> Iterator[Case]:
    for kind in _MEDIA:
        more = b"Content-Type: " + kind + b"\r\n"
        yield Case(f"media {kind!r}", post(more=more), (415,), "unsupported_media_type")
    yield Case("no media type", post(more=b""), (415,), "unsupported_media_type")
    two = JSON + b"Content-Type: text/plain\r\n"
    yield Case("two media types", post(more=two), (415,), "unsupported_media_type")
    for coding in (b"gzip", b"deflate", b"br", b"zstd", b"gzip, identity", b"GZIP", b"x"):
        more = JSON + b"Content-Encoding: " + coding + b"\r\n"
        yield Case(f"coding {coding!r}", post(more=more), (415,), "unsupported_media_type")


def _framing() -> Iterator[Case]:
    te = b"Transfer-Encoding: chunked\r\n"
    both = te + b"Content-Length: 5\r\n"
    yield Case("two framings", chunked(b"0\r\n\r\n", both), (400,))
    for coding in (
        b"gzip, chunked",
        b"chunked, chunked",
        b"identity",
        b"xchunked",
        b"chunked;q=1",
        b"x",
    ):
        more = b"Transfer-Encoding: " + coding + b"\r\n"
        yield Case(f"transfer coding {coding!r}", chunked(b"0\r\n\r\n", more), (400, 501))
    yield Case("chunked twice", chunked(b"0\r\n\r\n", te + te), (400, 501))
    old = chunked(b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")
    yield Case("chunked in HTTP/1.0", old, (400, 501))
    for length in (b"-1", b"+2", b"2,2", b"0x2", b"2 2", b"", b"\xb2", b"1e1", b"9" * 40):
        more = JSON + b"Content-Length: " + length + b"\r\n"
        sent = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + more + b"\r\n{}"
        reaches = length == b"2,2"  # the same number twice is one number, RFC 9110 says
        yield Case(f"length {length!r}", sent, (400, 413, 200), reaches=reaches)
    differ = JSON + b"Content-Length: 2\r\nContent-Length: 3\r\n"
    sent = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + differ + b"\r\n{}"
    yield Case("two lengths", sent, (400,))
    for body in (
        b"zz\r\n",
        b"-1\r\n",
        b"0x2\r\n{}\r\n0\r\n\r\n",
        b"2\n{}\n0\n\n",
        b"2\r\n{}X\r\n0\r\n\r\n",
    ):
        yield Case(f"chunks {body!r}", chunked(body), (400, 408, 0), reaches=True)
    yield Case(
        "a chunk of all bytes there are",
        chunked(b"F" * 20 + b"\r\n{"),
        (400, 408, 413, 0),
        reaches=True,
    )


def _heads() -> Iterator[Case]:
    for line in (
        b"",
        b"GET",
        b"GET /",
        b"GET / HTTP/9.9",
        b"GET / HTTP/1.1 x",
        b"GET  / HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"G\x00T / HTTP/1.1",
        b"GET / HTTP/2.0",
        b"PRI * HTTP/2.0",
        b"\x16\x03\x01\x02\x00\x01",
        b"hello",
        b"GET /\x80 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"(GET) / HTTP/1.1",
    ):
        yield Case(
            f"request line {line!r}",
            line + b"\r\n" + HOST + b"\r\n",
            (400, 404, 405, 421),
            reaches=True,
        )
    for header in (
        b"X : y\r\n",
        b"X\r\n",
        b": y\r\n",
        b"X\x00: y\r\n",
        b"X: a\x00b\r\n",
        b"X: a\rb\r\n",
        b"X(): y\r\n",
        b"X: a\r\n b\r\n c: \x01\r\n",
    ):
        yield Case(f"header {header!r}", get(more=header), (400,))
    yield Case("a folded host", get(more=b" X: y\r\n"), (400, 421))
    yield Case("a header too large", get(more=b"X: " + b"a" * 70_000 + b"\r\n"), (431,))
    many = b"".join(b"X-%d: %s\r\n" % (n, b"a" * 500) for n in range(140))
    yield Case("headers too large together", get(more=many), (431,))
    yield Case(
        "too many headers", get(more=b"".join(b"X-%d: a\r\n" % n for n in range(200))), (431,)
    )
    yield Case("a megabyte of head", get(more=b"X: " + b"a" * 1_000_000 + b"\r\n"), (431, 0))
    yield Case("a target too long", get(b"/" + b"a" * 20_000), (414,))
    yield Case("a target beyond all", get(b"/" + b"a" * 200_000), (414, 431, 0))
    for method in (b"TRACE", b"CONNECT", b"TRACK", b"PROPFIND", b"get", b"X" * 100):
        sent = method + b" /v1/models HTTP/1.1\r\n" + HOST + b"\r\n"
        yield Case(f"method {method!r}", sent, (405,), "method_not_allowed")
    yield Case("everything's options", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", (400,))
    preflight = b"Origin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\n"
    sent = b"OPTIONS /v1/models HTTP/1.1\r\n" + HOST + preflight + b"\r\n"
    yield Case("a foreign preflight", sent, (403,), "origin_not_allowed")
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n"
    yield Case("a web socket", get(b"/nowhere", more=upgrade), (404,), reaches=True)
    h2c = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"
    yield Case("an upgrade to HTTP/2", get(b"/nowhere", more=h2c), (404,), reaches=True)


def _paths() -> Iterator[Case]:
    for path in (b"/%00", b"/v1/models%00", b"/%0d%0aX:y", b"/a%01b", b"/%e2%80%a8", b"/%7f"):
        yield Case(f"path {path!r}", get(path), (400,), "invalid_request")
    for path in (b"http://127.0.0.1:{port}/v1/models", b"example.com:443"):
        yield Case(f"target {path!r}", get(path), (400,), "invalid_request")
    for path in (
        b"/nowhere",
        b"//health",
        b"/v1/../status",
        b"/%2e%2e/status",
        b"/v1%2fmodels",
        b"/./health",
        b"/health/",
        b"/HEALTH",
        b"/..%5c..%5cetc%5cpasswd",
        b"/;/health",
        b"/%ff%fe",
        b"/.well-known/oauth-protected-resource",
        b"/.well-known/oauth-authorization-server/mcp",
        b"/.well-known/openid-configuration",
        b"/register",
        b"/favicon.ico",
        b"/.git/config",
        b"/.env",
        b"/api/pull",
    ):
        # %2f decodes to a slash before routing, as everywhere; nothing is authorised by the raw path.
        yield Case(f"path {path!r}", get(path), (404, 200, 400, 307), reaches=True)


def _sizes() -> Iterator[Case]:
    for length in (b"2097153", b"9999999999", b"99999999999999999999"):
        head = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + JSON
        sent = head + b"Content-Length: " + length + b"\r\n\r\n"
        yield Case(f"announces {length!r} bytes", sent, (413,), "body_too_large")
    expect = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST + JSON
    expect += b"Expect: 100-continue\r\nContent-Length: 2097153\r\n\r\n"
    yield Case("asks before sending too much", expect, (413,), "body_too_large")
    yield Case("sends too much", post(b"[" + b" " * 2_097_152), (413,), "body_too_large")
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    yield Case(
        "sends too much in chunks",
        chunked(piece * 33 + b"0\r\n\r\n"),
        (413,),
        "body_too_large",
        True,
    )
    mcp = post(b" " * 1_048_577, b"/mcp")
    yield Case("sends too much to mcp", mcp, (413,), "body_too_large")
    deep = b"[" * 65 + b"]" * 65
    yield Case("nests too deep for mcp", post(deep, b"/mcp"), (400,), "invalid_request")
    yield Case(
        "nests without end for mcp", post(b"[" * 100_000, b"/mcp"), (400,), "invalid_request"
    )
    flat = b"[" + b"[]," * 250_001 + b"[]]"
    yield Case("has too many values for mcp", post(flat, b"/mcp"), (400,), "invalid_request")
