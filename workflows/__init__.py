"""Deterministic orchestration, and nothing else: what is done in which order, and what follows a failure.

Nothing is imported here: the sandbox loads this file again for every workflow.
"""
