// By the index over years.
MATCH (n:Release)
WHERE n.year > 0
RETURN n.title AS name, n.year AS number ORDER BY n.year, n.id LIMIT 1
