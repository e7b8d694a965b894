"""Local servers that behave like the providers' services, faults included. Never reach beyond 127.0.0.1."""
