"""Keys and their entries: what a service keeps, what it takes for an entry, and whom it finds."""

import hmac
import inspect
import re
import shlex
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.orchestrator.access.caller import Caller, Scope
from core.orchestrator.access.keys import KeyEntry, KeyRing, create_key, read_scopes
from core.orchestrator.config import Settings, load_settings
from core.orchestrator.errors import ConfigurationError

READER = frozenset({Scope.READ})
BOTH = frozenset({Scope.READ, Scope.INTERACT})
HASH = "0" * 64
USERS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=128)
SETS_OF_SCOPES = st.frozensets(st.sampled_from([Scope.READ, Scope.INTERACT]), min_size=1)


def _entry(**fields: str) -> str:
    given = {"name": "web", "scopes": "read", "sha256": HASH} | fields
    return ":".join(f"{field}={given[field]}" for field in ("name", "scopes", "user", "sha256") if field in given)


# --- keys ---


def test_a_key_is_256_random_bits_behind_a_prefix() -> None:
    made = [create_key("web", READER).key for _ in range(50)]
    assert len(set(made)) == 50
    assert all(re.fullmatch(r"ork_[A-Za-z0-9_-]{43}", key) for key in made)  # 43 characters of 6 bits


def test_an_entry_holds_the_hash_and_not_the_key() -> None:
    made = create_key("web", BOTH, "alice")
    assert str(made.entry) == f"name=web:scopes=interact+read:user=alice:sha256={sha256(made.key.encode()).hexdigest()}"
    assert made.key[4:] not in str(made.entry)


# --- entries ---


@given(user=st.none() | USERS, scopes=SETS_OF_SCOPES)
def test_whatever_the_user_an_entry_is_read_as_it_was_written(user: str | None, scopes: frozenset[Scope]) -> None:
    entry = create_key("web-1.x_Y", scopes, user).entry
    assert KeyEntry.parse(str(entry)) == entry
    assert re.fullmatch(r"[A-Za-z0-9=:+%._-]+", str(entry)), "these mean nothing to a shell, wherever they stand"


ODD = ["~", "~root", "a b", "$HOME", "`id`", "x,y;z:w", "'\"\\", "#1", "é\n&|<>*?", "%41", "100%", "a+b", "!!", "="]


def test_entries_survive_a_shell_and_an_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [create_key(f"key-{number}", READER, user).entry for number, user in enumerate(ODD)]
    line = f"API_KEYS={','.join(str(entry) for entry in entries)}"
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(f"{line}\n")
    assert list(KeyRing.parse(load_settings().API_KEYS)) == entries
    for shell in ("sh", "bash"):
        told = subprocess.run([shell, "-c", f"{line}; printf %s $API_KEYS"], capture_output=True, text=True, check=True)
        assert list(KeyRing.parse(Settings(_env_file=None, API_KEYS=told.stdout).API_KEYS)) == entries
    assert shlex.split(line) == [line]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("", "an entry looks like name=NAME:scopes=SCOPES:user=USER:sha256=HASH, where user may be missing"),
        ("web", "an entry looks like"),
        ("name=web", "an entry looks like"),
        (f"scopes=read:name=web:sha256={HASH}", "an entry looks like"),
        (f"name=web:name=web:scopes=read:sha256={HASH}", "an entry looks like"),
        (_entry() + ":colour=red", "an entry looks like"),
        (_entry(name=""), "its name must be"),
        (_entry(name="a b"), "its name must be"),
        (_entry(name="x" * 41), "its name must be"),
        (_entry(name=HASH), "its name must be"),
        (_entry(scopes=""), "its scopes must be some of interact, read, admin"),
        (_entry(scopes="read+write"), "its scopes must be some of interact, read, admin"),
        (_entry(scopes="READ"), "its scopes must be some of interact, read, admin"),
        (_entry(user=""), "its user must have 1 to 128 characters"),
        (_entry(user="x" * 129), "its user must have 1 to 128 characters"),
        (_entry(user="%00"), "its user must have 1 to 128 characters, none of them NUL"),
        (_entry(user="%ff"), "its user is not UTF-8"),
        (_entry(user="%ed%a0%80"), "its user is not UTF-8"),
        (_entry(user="alice", scopes="read+admin"), "one with the scope admin cannot be bound to a user"),
        (_entry(sha256="12ab"), "its sha256 must be 64 hexadecimal digits in lower case"),
        (_entry(sha256="A" * 64), "its sha256 must be 64 hexadecimal digits in lower case"),
    ],
)
def test_a_wrong_entry_is_named_by_its_place(entry: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as failure:
        KeyRing.parse([_entry(name="first", sha256="1" * 64), entry])
    message = str(failure.value)
    assert message.startswith(f"API_KEYS: entry 2: {words}")
    assert len(message.splitlines()) == 1
    assert not re.search("[0-9a-fA-F]{12}", message), "a hash"


def test_a_key_in_the_place_of_its_entry_is_told_and_not_quoted() -> None:
    key = create_key("web", READER).key
    for text in (key, _entry(name=key), _entry(sha256=key), _entry(scopes=key), f"web={key}"):
        with pytest.raises(ConfigurationError) as failure:
            KeyRing.parse([text])
        assert key not in str(failure.value)
    with pytest.raises(ConfigurationError, match="this is a key; what belongs here is the entry"):
        KeyRing.parse([key])


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (_entry(name="web", sha256="1" * 64), "entry 1 has the name web, too"),
        (_entry(name="app"), "entry 1 (web) is of the same key"),
    ],
)
def test_two_entries_of_one_name_or_one_key_are_refused(second: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as failure:
        KeyRing.parse([_entry(), second])
    assert str(failure.value) == f"API_KEYS: entry 2: {words}"


def test_a_key_for_everything_is_bound_to_nobody() -> None:
    with pytest.raises(ConfigurationError, match="admin cannot be bound"):
        create_key("web", frozenset(Scope), "alice")


@pytest.mark.parametrize("text", ["", "read,", "write", "read write"])
def test_scopes_that_are_none_are_told(text: str) -> None:
    with pytest.raises(ConfigurationError, match="some of interact, read, admin"):
        read_scopes(text, ",")


# --- finding ---


def test_a_key_is_found_wherever_its_entry_stands() -> None:
    made = [create_key(f"key-{number}", READER, f"user-{number}") for number in range(3)]
    ring = KeyRing([key.entry for key in made])
    assert [ring.caller(key.key) for key in made] == [
        Caller(READER, f"key-{number}", f"user-{number}") for number in range(3)
    ]


def test_nobody_else_is_let_in() -> None:
    made = create_key("web", READER)
    ring = KeyRing([made.entry])
    for wrong in ("", made.key[:-1], made.key + "A", made.key.lower(), made.entry.digest, str(made.entry), "ork_"):
        assert ring.caller(wrong) is None, wrong
    assert KeyRing().caller(made.key) is None


def test_a_secret_that_was_not_made_here_opens_nothing() -> None:
    """Its hash alone might be guessed from."""
    chosen = KeyEntry("web", READER, sha256(b"hunter2").hexdigest())
    assert KeyRing([chosen]).caller("hunter2") is None
    assert KeyRing([KeyEntry("web", READER, sha256(b"").hexdigest())]).caller("") is None


def test_every_key_is_compared_in_constant_time_whichever_it_is() -> None:
    made = [create_key(f"key-{number}", READER) for number in range(5)]
    ring = KeyRing([key.entry for key in made])
    calls: list[Any] = []
    for key in (made[0].key, made[4].key, create_key("x", READER).key, "nonsense", ""):
        calls.clear()
        sys.setprofile(lambda _frame, event, what: calls.append(what) if event == "c_call" else None)
        ring.caller(key)
        sys.setprofile(None)
        assert calls.count(hmac.compare_digest) == len(made)
    assert "==" not in inspect.getsource(KeyRing.caller)
