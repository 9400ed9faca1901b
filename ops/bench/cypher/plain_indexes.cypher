// The indexes that serve searches only: neither those of constraints nor the server's own.
SHOW INDEXES YIELD name, type, owningConstraint
WHERE owningConstraint IS NULL AND type <> "LOOKUP"
RETURN collect(name) AS names
