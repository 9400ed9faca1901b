// Returns when the full-text indexes contain everything that is committed.
CALL db.index.fulltext.awaitEventuallyConsistentIndexRefresh()
