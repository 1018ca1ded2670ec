"""Every workflow, for workers and replays."""

from workflows.completion import CompletionWorkflow
from workflows.interaction import InteractionWorkflow
from workflows.reconciliation import ReconciliationWorkflow

WORKFLOWS = [InteractionWorkflow, CompletionWorkflow, ReconciliationWorkflow]
