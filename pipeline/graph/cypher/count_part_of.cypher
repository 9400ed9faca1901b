// How many genres a style is part of, or how many styles a genre has; degrees are stored with the node.
MATCH (n:@label)
WITH n, COUNT { (n)-[:PART_OF]-(:@other) } AS number
WHERE coalesce(n.@property, 0) <> number
SET n.@property = nullIf(number, 0)
