"""Load: how much one machine carries, and what happens beyond. Nothing of the service imports this."""
