"""Which addresses are this machine's alone."""

import pytest

from core.orchestrator.access.caller import Scope
from core.orchestrator.access.exposure import check_exposure, is_loopback
from core.orchestrator.access.keys import create_key
from core.orchestrator.config import Settings
from core.orchestrator.errors import ConfigurationError

ENTRY = str(create_key("web", frozenset({Scope.READ})).entry)


def _settings(host: str, *entries: str) -> Settings:
    return Settings(_env_file=None, API_HOST=host, API_KEYS=list(entries))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "127.1", "::1", "::ffff:127.0.0.1", "localhost"])
def test_this_machine_alone(host: str) -> None:
    assert is_loopback(host)
    assert check_exposure(_settings(host), insecure=False) is None


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "0",
        "",
        "::",
        "10.0.0.1",
        "192.0.2.1",
        "::ffff:10.0.0.1",
        "2001:db8::1",
        "no.such.host.invalid",
        "a" * 300,
    ],
)
def test_more_than_this_machine_or_nobody_knows(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ConfigurationError) as failure:
        check_exposure(_settings(host), insecure=False)
    message = str(failure.value)
    assert len(message.splitlines()) == 1
    assert "API_HOST" in message
    assert "set API_KEYS" in message
    assert "--insecure" in message


def test_keys_or_a_flag_let_it_be_reached_and_the_flag_warns() -> None:
    assert check_exposure(_settings("0.0.0.0", ENTRY), insecure=False) is None
    warning = check_exposure(_settings("0.0.0.0"), insecure=True)
    assert warning is not None
    assert warning.startswith("anybody who reaches 0.0.0.0 may read, spend and erase")
    assert check_exposure(_settings("127.0.0.1"), insecure=True) is None


@pytest.mark.parametrize("insecure", [True, False])
def test_a_wrong_entry_stops_the_start_wherever_it_listens(insecure: bool) -> None:
    with pytest.raises(ConfigurationError, match="API_KEYS: entry 1: an entry looks like"):
        check_exposure(_settings("127.0.0.1", "web"), insecure=insecure)
