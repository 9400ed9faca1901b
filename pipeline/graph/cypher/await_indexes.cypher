// Returns when every index is online; fails when one cannot be built, or after $seconds.
CALL db.awaitIndexes($seconds)
