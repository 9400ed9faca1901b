// The next $limit ids behind $after of nodes whose newest version is a dump's, ascending, in one row; in the order of the
// index.
MATCH (n:@label)
WHERE n.id > $after AND n.fingerprint IS NOT NULL AND n.upstream IS NULL
WITH n.id AS id ORDER BY id LIMIT $limit
RETURN collect(id) AS ids
