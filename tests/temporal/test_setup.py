"""Preparing a namespace: what is missing is added, what is there stays, what clashes is said."""

from datetime import timedelta
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, RegisterNamespaceRequest
from temporalio.client import Client

from core.orchestrator.errors import ConfigurationError, WorkflowServiceUnavailableError
from temporal.search_attributes import SEARCH_ATTRIBUTES
from temporal.setup import prepare_namespace

MONTH = timedelta(days=30)


@pytest.fixture
async def fresh(temporal: Client) -> Client:
    """A client in a namespace that nobody has prepared, with a retention of one day."""
    name = f"fresh-{uuid4()}"
    await temporal.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=Duration(seconds=86_400))
    )
    return await Client.connect(temporal.service_client.config.target_host, namespace=name)


async def test_a_fresh_namespace_gets_search_attributes_and_retention(fresh: Client) -> None:
    changes = await prepare_namespace(fresh, MONTH)
    assert changes == [f"search attribute {name} added" for name in SEARCH_ATTRIBUTES] + [
        "histories are kept for 30 days"
    ]
    known = await fresh.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace=fresh.namespace))
    assert {name: known.custom_attributes[name] for name in SEARCH_ATTRIBUTES} == SEARCH_ATTRIBUTES
    described = await fresh.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=fresh.namespace))
    assert described.config.workflow_execution_retention_ttl.ToTimedelta() == MONTH


async def test_a_prepared_namespace_is_left_as_it_is(fresh: Client) -> None:
    await prepare_namespace(fresh, MONTH)
    assert await prepare_namespace(fresh, MONTH) == []


async def test_only_what_differs_is_changed(fresh: Client) -> None:
    await prepare_namespace(fresh, MONTH)
    assert await prepare_namespace(fresh, timedelta(days=7)) == ["histories are kept for 7 days"]


async def test_a_search_attribute_of_another_type_is_named_and_nothing_is_changed(fresh: Client) -> None:
    number = IndexedValueType.INDEXED_VALUE_TYPE_INT
    await fresh.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace=fresh.namespace, search_attributes={"PersonaId": number})
    )
    with pytest.raises(ConfigurationError, match=f"'{fresh.namespace}' has search .* another type: PersonaId$"):
        await prepare_namespace(fresh, MONTH)
    known = await fresh.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace=fresh.namespace))
    assert "Outcome" not in known.custom_attributes


async def test_a_namespace_that_does_not_exist_is_told(temporal: Client) -> None:
    nowhere = await Client.connect(temporal.service_client.config.target_host, namespace="no-such-namespace")
    with pytest.raises(WorkflowServiceUnavailableError, match="no-such-namespace"):
        await prepare_namespace(nowhere, MONTH)
