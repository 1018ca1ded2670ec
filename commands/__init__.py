"""The commands of `orchestrator` that are more than a line around something else; `cli.py` puts them together."""
