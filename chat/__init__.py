"""`orchestrator chat`: a conversation in a terminal. It knows the service's HTTP API, and nothing else of ours."""
