// The aliases of artists that the graph lacks; every end exists.
UNWIND $rows AS row
MATCH (artist:Artist {id: row.id})
UNWIND row.aliases AS reference
MATCH (alias:Artist {id: reference.id})
CREATE (artist)-[:ALIAS_OF]->(alias)
