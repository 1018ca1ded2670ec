"""What can be measured of the service, and told to the outside: metrics, and traces where somebody asked for them.

Nothing here holds what was said, who said it, or a secret. OpenTelemetry is imported here, in `temporal` and in `api`
only: the rest of the domain tells events, and tells an observer of its calls.
"""
