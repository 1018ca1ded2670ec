"""The commands of `orchestrator`, each with what it imports: `cli.py` loads the one that is run."""
