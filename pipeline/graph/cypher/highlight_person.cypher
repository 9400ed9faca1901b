// A person may have several credits on one release: the best candidates by credits are counted exactly.
// Discogs credits folk songs to Traditional, who is nobody.
MATCH (n:Person)
WHERE n.name <> "Traditional"
WITH n, COUNT { (n)-[:CREDITED_ON]->() } AS credits
ORDER BY credits DESC LIMIT 100
MATCH (n)-[:CREDITED_ON]->(release)
WITH n.name AS name, count(DISTINCT release) AS number
RETURN name, number ORDER BY number DESC, name LIMIT 1
