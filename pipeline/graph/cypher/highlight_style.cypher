// Records with a style are releases and masters: only releases count.
MATCH (n:Style)
WITH n.name AS name, COUNT { (n)<-[:IS]-(:Release) } AS number
WHERE number > 0
RETURN name, number ORDER BY number DESC, name LIMIT 1
