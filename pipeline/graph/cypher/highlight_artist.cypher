// Discogs files compilations under an artist called Various (id 194), who never made a record.
MATCH (n:Artist)
WHERE n.name IS NOT NULL AND n.id <> 194
WITH n.name AS name, COUNT { (n)<-[:BY]-(:Release) } AS number
WHERE number > 0
RETURN name, number ORDER BY number DESC, name LIMIT 1
