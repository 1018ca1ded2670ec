"""Deterministic orchestration, and nothing else: what is done in which order, and what follows a failure."""

from workflows.completion import CompletionWorkflow
from workflows.interaction import InteractionWorkflow

WORKFLOWS = [InteractionWorkflow, CompletionWorkflow]
