"""Framing of HTTP/1.1 bodies, however the bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes import http_body
from tests.upstream import scripted


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.data())
def test_chunks_come_out_whole_however_the_bytes_are_cut(
    pieces: list[bytes], data: st.DataObject
) -> None:
    wire = scripted.chunks(*pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    chunked = http_body.Chunked()

    out = b"".join(
        chunked.feed(wire[start:end])
        for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)
        if start < end
    )

    assert out == b"".join(pieces)
    assert chunked.complete
    assert chunked.closed()


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=4), st.integers(1, 200))
def test_a_chunked_body_that_is_cut_short_never_counts_as_complete(
    pieces: list[bytes], missing: int
) -> None:
    wire = scripted.chunks(*pieces)
    chunked = http_body.Chunked()

    chunked.feed(wire[: max(0, len(wire) - missing)])

    assert not chunked.closed()


@pytest.mark.parametrize(
    "wire",
    [
        b"zz\r\nabc\r\n0\r\n\r\n",
        b"-1\r\nabc\r\n",
        b"+3\r\nabc\r\n",
        b"0x3\r\nabc\r\n",
        b"1_0\r\nabc\r\n",
        b"\r\nabc",
        b"3\r\nabcdef\r\n",
        b"0\r\n\r\nmore",
        b"f" * 300,
    ],
)
def test_a_broken_chunked_coding_is_refused(wire: bytes) -> None:
    with pytest.raises(http_body.Garbled):
        http_body.Chunked().feed(wire)


def test_trailers_and_extensions_are_thrown_away() -> None:
    chunked = http_body.Chunked()

    assert chunked.feed(b"3;a=b\r\nabc\r\n0\r\nx-trailer: 1\r\n\r\n") == b"abc"
    assert chunked.complete


def test_a_length_is_counted_down_and_an_early_end_is_a_break() -> None:
    length = http_body.framing(200, {"content-length": "5"})

    assert length.feed(b"abc") == b"abc"
    assert not length.closed()
    assert length.feed(b"de") == b"de"
    assert length.complete


def test_more_bytes_than_announced_are_refused() -> None:
    with pytest.raises(http_body.Garbled):
        http_body.framing(200, {"content-length": "2"}).feed(b"abc")


@pytest.mark.parametrize("length", ["-1", "1, 1", "1.0", "0x10", "", "٣"])
def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    with pytest.raises(http_body.Garbled):
        http_body.framing(200, {"content-length": length})


def test_an_unknown_transfer_coding_is_refused() -> None:
    with pytest.raises(http_body.Garbled):
        http_body.framing(200, {"transfer-encoding": "gzip, chunked"})


def test_without_a_length_the_body_ends_with_the_connection() -> None:
    body = http_body.framing(200, {})

    assert body.feed(b"abc") == b"abc"
    assert not body.complete
    assert body.closed()
    assert not body.reusable
