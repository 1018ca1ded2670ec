"""Connecting: which address, and what a person is told when it does not work."""

from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from core.orchestrator.config import Settings
from core.orchestrator.errors import ConfigurationError, WorkflowServiceUnavailableError
from temporal.client import connect
from tests.harness import free_port
from tests.temporal.keys import keys


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)


async def test_the_address_of_the_settings_is_used(temporal_address: str) -> None:
    client = await connect(settings(TEMPORAL_ADDRESS=temporal_address))
    assert client.service_client.config.target_host == temporal_address
    assert client.namespace == "default"


async def test_without_an_address_it_is_the_local_port(temporal: Client, temporal_address: str) -> None:
    port = int(temporal_address.rpartition(":")[2])
    assert (await connect(settings(TEMPORAL_PORT=port))).service_client.config.target_host == temporal_address


async def test_the_namespace_comes_from_the_standard_variable(
    temporal_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "elsewhere")
    assert (await connect(settings(TEMPORAL_ADDRESS=temporal_address))).namespace == "elsewhere"


async def test_a_server_that_does_not_answer_is_named() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(WorkflowServiceUnavailableError) as failure:
        await connect(settings(TEMPORAL_ADDRESS=address))
    assert str(failure.value) == f"Temporal at {address} did not answer: Connection refused"


async def test_a_server_that_speaks_no_tls_is_told_in_few_words(
    temporal_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_TLS", "true")
    with pytest.raises(WorkflowServiceUnavailableError) as failure:
        await connect(settings(TEMPORAL_ADDRESS=temporal_address))
    assert str(failure.value) == f"Temporal at {temporal_address} did not answer: InvalidMessage(InvalidContentType)"


async def test_with_keys_what_is_written_is_encrypted(temporal_address: str) -> None:
    client = await connect(settings(TEMPORAL_ADDRESS=temporal_address, PAYLOAD_ENCRYPTION_KEYS=keys("a")), lazy=True)
    [payload] = await client.data_converter.encode(["a word"])
    assert payload.metadata["encoding"] == b"binary/encrypted"


async def test_a_lazy_connection_needs_no_server_yet() -> None:
    address = f"127.0.0.1:{free_port()}"
    assert (await connect(settings(TEMPORAL_ADDRESS=address), lazy=True)).service_client.config.lazy


async def test_a_configuration_file_that_cannot_be_read_is_a_configuration_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "temporal.toml"
    broken.write_text("[profile.default\n")
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(broken))
    with pytest.raises(ConfigurationError, match="the Temporal client configuration cannot be read"):
        await connect(settings())


async def test_an_address_that_is_none_is_told_in_words() -> None:
    with pytest.raises((ConfigurationError, WorkflowServiceUnavailableError), match="not an address"):
        await connect(settings(TEMPORAL_ADDRESS="not an address"))
