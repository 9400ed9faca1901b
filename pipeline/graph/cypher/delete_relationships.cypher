// Relationships by their `elementId`, read in the same transaction.
UNWIND $ids AS id
MATCH ()-[r]->()
WHERE elementId(r) = id
DELETE r
