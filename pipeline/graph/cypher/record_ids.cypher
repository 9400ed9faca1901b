// The next $limit ids behind $after of nodes that records define, ascending, in one row; in the order of the index.
MATCH (n:@label)
WHERE n.id > $after AND n.fingerprint IS NOT NULL
WITH n.id AS id ORDER BY id LIMIT $limit
RETURN collect(id) AS ids
