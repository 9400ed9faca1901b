// The names of the full-text indexes.
SHOW FULLTEXT INDEXES YIELD name
RETURN collect(name) AS names
