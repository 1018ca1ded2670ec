"""Load and speed: how much one machine carries, and what an interaction costs. Nothing of the service imports this."""
