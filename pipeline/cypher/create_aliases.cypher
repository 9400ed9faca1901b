// What artists say of their aliases; every end exists, and nothing of an earlier version is left.
UNWIND $rows AS row
MATCH (artist:Artist {id: row.id})
UNWIND row.aliases AS reference
MATCH (alias:Artist {id: reference.id})
CREATE (artist)-[:ALIAS_OF]->(alias)
