"""Every workflow, for workers and replays."""

from workflows.completion import CompletionWorkflow
from workflows.interaction import InteractionWorkflow

WORKFLOWS = [InteractionWorkflow, CompletionWorkflow]
