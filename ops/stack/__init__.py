"""The embedded stack: Valkey, Neo4j and workers on this machine."""
