"""Which workflow is whose: ids of ours in Temporal are made of an interaction's id, and tell it."""


def workflow_id_of(interaction_id: str) -> str:
    """Return the one workflow id an interaction can have: Temporal refuses a second start under it."""
    return f"interaction-{interaction_id}"


def reconciliation_id_of(interaction_id: str) -> str:
    """Return the workflow id under which the bill of an interaction's broken calls is looked up."""
    return f"reconcile-{interaction_id}"


def interaction_id_of(workflow_id: str) -> str | None:
    """Return whose workflow, or whose bill's, has that id; None for a workflow that is not ours."""
    for prefix in (workflow_id_of(""), reconciliation_id_of("")):
        if workflow_id.startswith(prefix):
            return workflow_id.removeprefix(prefix)
    return None
