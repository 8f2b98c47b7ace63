"""The key that outlives a restart, and the tokens made with it."""

import stat
from dataclasses import dataclass
from pathlib import Path

import pytest

from mcp_server.confirmation import LIFETIME_S, Confirmations
from mcp_server.state_key import FILE, StateKey, UnsafeKeyFile


def loaded(folder: Path) -> StateKey:
    key = StateKey(folder)
    key.load()
    return key


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    first, second = loaded(tmp_path), loaded(tmp_path)
    assert first.secret == second.secret
    assert len(first.secret) == 32
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert second.unseal(first.seal(b"state")) == b"state"


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    loaded(tmp_path)
    (tmp_path / FILE).chmod(0o644)
    with pytest.raises(UnsafeKeyFile, match="read by others"):
        loaded(tmp_path)


def test_a_link_in_place_of_the_key_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"x" * 32)
    elsewhere.chmod(0o600)
    (tmp_path / FILE).symlink_to(elsewhere)
    with pytest.raises(UnsafeKeyFile):
        loaded(tmp_path)


def test_a_cut_off_key_is_not_used(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"short")
    (tmp_path / FILE).chmod(0o600)
    with pytest.raises(UnsafeKeyFile, match="does not hold a key"):
        loaded(tmp_path)


@dataclass
class Clock:
    """Time that a test moves."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Key:
    """A secret from nowhere."""

    secret: bytes = b"s" * 32


def test_a_token_is_good_once_for_one_owner_and_one_action() -> None:
    confirmations = Confirmations(Key(), Clock())
    token = confirmations.mint("local", "unload a")
    assert not confirmations.spend(token, "local", "unload b")
    assert not confirmations.spend(token, "key:bob", "unload a")
    assert confirmations.spend(token, "local", "unload a")
    assert not confirmations.spend(token, "local", "unload a")


def test_a_token_dies_of_age() -> None:
    clock = Clock()
    confirmations = Confirmations(Key(), clock)
    token = confirmations.mint("local", "unload a")
    clock.now += LIFETIME_S + 1
    assert not confirmations.spend(token, "local", "unload a")


@pytest.mark.parametrize("token", ["", ".", "..", "9.x.y", "x" * 5000, "9" * 400, "\ud800.a.b"])
def test_nonsense_is_no_token(token: str) -> None:
    assert not Confirmations(Key(), Clock()).spend(token, "local", "unload a")
