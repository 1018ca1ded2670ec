"""Preparing a namespace: what is missing is added, what is there stays, what clashes is said."""

import sys
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, RegisterNamespaceRequest
from temporalio.client import Client

from core.orchestrator.errors import ConfigurationError, WorkflowServiceUnavailableError
from temporal.search_attributes import SEARCH_ATTRIBUTES
from temporal.setup import check_namespace, make_namespace, prepare_namespace
from tests.harness import Process, System

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


async def test_a_prepared_namespace_is_fit_for_workers(fresh: Client) -> None:
    await prepare_namespace(fresh, MONTH)
    await check_namespace(fresh)


async def test_a_namespace_that_lacks_a_search_attribute_is_refused_with_the_way_to_mend_it(fresh: Client) -> None:
    older = {name: kind for name, kind in SEARCH_ATTRIBUTES.items() if name != "ErrorTypes"}
    await fresh.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace=fresh.namespace, search_attributes=older)
    )
    with pytest.raises(ConfigurationError) as refusal:
        await check_namespace(fresh)
    assert str(refusal.value) == (
        f"namespace '{fresh.namespace}' lacks search attributes (ErrorTypes): run `orchestrator setup`"
    )


async def test_where_search_attributes_cannot_be_looked_at_workers_go_on(temporal: Client) -> None:
    # As for whoever may run workflows in a namespace, but not look at how it is set up.
    await check_namespace(
        await Client.connect(temporal.service_client.config.target_host, namespace="no-such-namespace")
    )


async def test_a_worker_does_not_start_where_its_workflows_could_not_end(
    fresh: Client, own_system: System, tmp_path: Path
) -> None:
    environment = {**own_system.environment, "TEMPORAL_NAMESPACE": fresh.namespace}
    worker = await Process.start([sys.executable, "worker.py"], tmp_path / "log", environment)
    assert await worker.wait() == 2
    told = [line for line in worker.output.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert told[0].endswith("run `orchestrator setup`")
    assert "Traceback" not in worker.output
    code, output = await own_system.command("setup", TEMPORAL_NAMESPACE=fresh.namespace)
    assert code == 0, output
    await own_system.start_worker(TEMPORAL_NAMESPACE=fresh.namespace)


async def test_a_namespace_that_does_not_exist_is_told(temporal: Client) -> None:
    nowhere = await Client.connect(temporal.service_client.config.target_host, namespace="no-such-namespace")
    with pytest.raises(WorkflowServiceUnavailableError, match="no-such-namespace"):
        await prepare_namespace(nowhere, MONTH)


async def test_on_a_fresh_cluster_the_namespace_is_made_once(temporal: Client) -> None:
    missing = await Client.connect(temporal.service_client.config.target_host, namespace=f"missing-{uuid4()}")
    assert await make_namespace(missing, MONTH) == ["made"]
    assert await make_namespace(missing, MONTH) == []
    assert await prepare_namespace(missing, MONTH) == [f"search attribute {name} added" for name in SEARCH_ATTRIBUTES]
    await check_namespace(missing)


async def test_setup_makes_the_namespace_that_is_missing(own_system: System) -> None:
    namespace = f"missing-{uuid4()}"
    code, output = await own_system.command("setup", TEMPORAL_NAMESPACE=namespace)
    assert code == 0, output
    assert f"namespace {namespace}: made" in output
    await own_system.start_worker(TEMPORAL_NAMESPACE=namespace)
