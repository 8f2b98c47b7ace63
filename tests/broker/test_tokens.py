"""Tokens of an OAuth sign-in are kept where only their owner can read them."""

import stat
from pathlib import Path

from broker.tokens import TokenFile


async def test_tokens_come_back_and_nobody_else_may_read_them(tmp_path: Path) -> None:
    path = tmp_path / "state" / "tokens.json"
    store = TokenFile(path)
    await store.put("https://x.test/tokens", {"access_token": "secret"}, collection="tokens")
    assert await TokenFile(path).get("https://x.test/tokens", collection="tokens") == {
        "access_token": "secret"
    }
    assert await store.get("https://x.test/tokens", collection="others") is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_an_expired_token_is_gone_and_a_deleted_one_too(tmp_path: Path) -> None:
    store = TokenFile(tmp_path / "tokens.json")
    await store.put_many(["old", "new"], [{"a": 1}, {"b": 2}], ttl=-1)
    await store.put("new", {"b": 2}, ttl=60)
    assert await store.get_many(["old", "new"]) == [None, {"b": 2}]
    (_, left) = await store.ttl("new")
    assert left is not None
    assert 0 < left <= 60
    assert await store.delete("new")
    assert not await store.delete("new")


async def test_a_broken_file_is_no_token(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text("{ half")
    assert await TokenFile(path).get("anything") is None
