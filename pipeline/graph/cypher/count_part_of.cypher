// Sets the number of genres of each style, or of styles of each genre, from their degrees.
MATCH (n:@label)
WITH n, COUNT { (n)-[:PART_OF]-(:@other) } AS number
WHERE coalesce(n.@property, 0) <> number
SET n.@property = nullIf(number, 0)
