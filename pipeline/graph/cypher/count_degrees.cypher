// Sets how many relationships of one type the nodes of one label have, from their degrees.
MATCH (n:@label)
WITH n, COUNT { (n)-[:@type]-() } AS number
WHERE coalesce(n.@property, 0) <> number
CALL (n, number) {
  SET n.@property = nullIf(number, 0)
} IN TRANSACTIONS OF 1000 ROWS
