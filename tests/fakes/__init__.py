"""In-memory stand-ins that are held to the real thing by tests/contract."""
