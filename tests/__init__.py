"""The tests of graphinator; `oracle` says what must be in the graph."""

import os

# Neo4j's driver decides when it is imported whether to check that no session is used by two tasks at once.
# Worker processes do not inherit it: they are tested as they run.
os.environ["PYTHONNEO4JDEBUG"] = "1"

import neo4j  # noqa: F401 - what the variable is set for

del os.environ["PYTHONNEO4JDEBUG"]
