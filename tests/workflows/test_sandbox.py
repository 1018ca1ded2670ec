"""Workflow code runs in a sandbox; what it imports is passed through on purpose, or not at all."""

import dataclasses

import pytest
from temporalio import workflow
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from workflows.all import WORKFLOWS


@pytest.mark.parametrize("definition", WORKFLOWS)
async def test_a_workflow_imports_nothing_into_the_sandbox_by_accident(definition: type) -> None:
    strict = dataclasses.replace(
        SandboxRestrictions.default,
        import_notification_policy=workflow.SandboxImportNotificationPolicy.RAISE_ON_UNINTENTIONAL_PASSTHROUGH
        | workflow.SandboxImportNotificationPolicy.WARN_ON_DYNAMIC_IMPORT,
    )
    SandboxedWorkflowRunner(restrictions=strict).prepare_workflow(workflow._Definition.must_from_class(definition))
