// Relationships by their `elementId`, read in the same transaction.
UNWIND $links AS id
MATCH ()-[link]->()
WHERE elementId(link) = id
DELETE link
