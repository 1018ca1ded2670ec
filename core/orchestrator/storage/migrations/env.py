"""Alembic's entry point. The connection, and the transaction around it, come from `Database.migrate`."""

from alembic import context

from core.orchestrator.storage.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
