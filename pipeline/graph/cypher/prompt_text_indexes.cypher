// Those of the full-text indexes $names that every transaction keeps up to date, as former versions created them.
SHOW INDEXES YIELD name, type, options
WHERE type = "FULLTEXT" AND name IN $names AND NOT options.indexConfig["fulltext.eventually_consistent"]
RETURN collect(name) AS names
