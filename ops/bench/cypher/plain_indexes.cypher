// Names of the search indexes, without those of constraints and the server's own.
SHOW INDEXES YIELD name, type, owningConstraint
WHERE owningConstraint IS NULL AND type <> "LOOKUP"
RETURN collect(name) AS names
