// Degrees are stored with the node: nothing is walked. The same for the other facts that count.
MATCH (n:Label)
WHERE n.name IS NOT NULL
WITH n.name AS name, COUNT { (n)<-[:ON]-() } AS number
WHERE number > 0
RETURN name, number ORDER BY number DESC, name LIMIT 1
