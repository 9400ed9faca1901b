// Groups with their members, whether both have records of their own or not.
MATCH (n:Artist)
WHERE n.name IS NOT NULL
WITH n.name AS name, COUNT { (n)<-[:MEMBER_OF]-() } AS number
WHERE number > 0
RETURN name, number ORDER BY number DESC, name LIMIT 1
