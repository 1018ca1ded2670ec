"""What a fresh Temporal cluster needs before our workflows can run on it. Safe to repeat."""

import asyncio
import logging
import time
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    RegisterNamespaceRequest,
    UpdateNamespaceRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from core.orchestrator.errors import ConfigurationError, WorkflowServiceUnavailableError
from temporal.reasons import reason
from temporal.search_attributes import SEARCH_ATTRIBUTES

logger = logging.getLogger(__name__)

_RPC_TIMEOUT = timedelta(seconds=10)
_KNOWN_WITHIN_SECONDS = 60
_PAUSE_SECONDS = 0.2


async def make_namespace(client: Client, history_retention: timedelta) -> list[str]:
    """Make the client's namespace if there is none, as on a cluster that was just set up.

    Returns:
        What was changed, one line each.

    Raises:
        WorkflowServiceUnavailableError: Temporal refused or did not answer.
    """
    try:
        await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace), timeout=_RPC_TIMEOUT
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise WorkflowServiceUnavailableError(f"Temporal could not be prepared: {reason(error)}") from error
    else:
        return []
    try:
        await client.workflow_service.register_namespace(
            RegisterNamespaceRequest(
                namespace=client.namespace, workflow_execution_retention_period=_duration(history_retention)
            ),
            timeout=_RPC_TIMEOUT,
        )
    except RPCError as refusal:
        if refusal.status is RPCStatusCode.ALREADY_EXISTS:  # somebody else was faster
            return []
        raise WorkflowServiceUnavailableError(f"the namespace could not be made: {reason(refusal)}") from refusal
    await _until_known(client)
    return ["made"]


async def _until_known(client: Client) -> None:
    """Return when Temporal knows a namespace that was just made: each looks for new ones only every few seconds."""
    deadline = time.monotonic() + _KNOWN_WITHIN_SECONDS
    while True:
        try:
            await _search_attributes(client)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND or time.monotonic() > deadline:
                raise WorkflowServiceUnavailableError(f"the namespace was made, but: {reason(error)}") from error
        else:
            return
        await asyncio.sleep(_PAUSE_SECONDS)


async def prepare_namespace(client: Client, history_retention: timedelta) -> list[str]:
    """Add our search attributes and set how long histories are kept.

    Returns:
        What was changed, one line each; empty when nothing had to be.

    Raises:
        ConfigurationError: a search attribute exists with another type.
        WorkflowServiceUnavailableError: Temporal refused or did not answer.
    """
    try:
        return [*await _add_search_attributes(client), *await _set_retention(client, history_retention)]
    except RPCError as error:
        raise WorkflowServiceUnavailableError(f"Temporal could not be prepared: {reason(error)}") from error


async def check_namespace(client: Client) -> None:
    """Return if our workflows can run in the namespace, or if Temporal does not say.

    Raises:
        ConfigurationError: search attributes are missing; a workflow that set one would never get any further.
    """
    try:
        present = await _search_attributes(client)
    except RPCError as error:  # whoever may run workflows need not be allowed to look
        logger.info("the search attributes of '%s' cannot be checked: %s", client.namespace, error.message)
        return
    missing = [name for name in SEARCH_ATTRIBUTES if name not in present]
    if missing:
        raise ConfigurationError(
            f"namespace '{client.namespace}' lacks search attributes ({', '.join(missing)}): run `orchestrator setup`"
        )


async def _search_attributes(client: Client) -> dict[str, IndexedValueType.ValueType]:
    known = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace), timeout=_RPC_TIMEOUT
    )
    return {**known.system_attributes, **known.custom_attributes}


async def _add_search_attributes(client: Client) -> list[str]:
    present = await _search_attributes(client)
    clashing = [name for name, kind in SEARCH_ATTRIBUTES.items() if present.get(name, kind) != kind]
    if clashing:
        raise ConfigurationError(
            f"namespace '{client.namespace}' has search attributes of another type: {', '.join(clashing)}"
        )
    missing = {name: kind for name, kind in SEARCH_ATTRIBUTES.items() if name not in present}
    if not missing:
        return []
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing), timeout=_RPC_TIMEOUT
    )
    return [f"search attribute {name} added" for name in missing]


async def _set_retention(client: Client, wanted: timedelta) -> list[str]:
    described = await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace=client.namespace), timeout=_RPC_TIMEOUT
    )
    if described.config.workflow_execution_retention_ttl.ToTimedelta() == wanted:
        return []
    await client.workflow_service.update_namespace(
        UpdateNamespaceRequest(
            namespace=client.namespace, config=NamespaceConfig(workflow_execution_retention_ttl=_duration(wanted))
        ),
        timeout=_RPC_TIMEOUT,
    )
    return [f"histories are kept for {wanted.days} days"]


def _duration(time: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(time)
    return duration
