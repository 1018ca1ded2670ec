"""The connection to Temporal: one place decides address, namespace, and how payloads are written."""

from temporalio.client import Client
from temporalio.envconfig import ClientConfig

from core.orchestrator.config import Settings
from core.orchestrator.errors import ConfigurationError, WorkflowServiceUnavailableError
from temporal.payloads import data_converter
from temporal.reasons import reason
from temporal.tracing import tracing_plugins


async def connect(settings: Settings, *, lazy: bool = False) -> Client:
    """Connect as the standard TEMPORAL_* variables and configuration file say.

    Args:
        settings: `TEMPORAL_ADDRESS` wins over the file; without either, the local port of the settings.
        lazy: connect on first use, so that a process may start before Temporal does. No worker can use it.

    Raises:
        ConfigurationError: the Temporal configuration cannot be read.
        WorkflowServiceUnavailableError: Temporal did not answer.
    """
    try:
        config = ClientConfig.load_client_connect_config()
    except Exception as error:
        raise ConfigurationError(f"the Temporal client configuration cannot be read: {error}") from error
    target = settings.TEMPORAL_ADDRESS or config.get("target_host") or f"127.0.0.1:{settings.TEMPORAL_PORT}"
    config["target_host"] = target
    try:
        converter = data_converter(settings.PAYLOAD_ENCRYPTION_KEYS)
        return await Client.connect(**config, data_converter=converter, lazy=lazy, plugins=tracing_plugins())
    except (RuntimeError, ValueError) as error:
        raise WorkflowServiceUnavailableError(f"Temporal at {target} did not answer: {reason(error)}") from error
