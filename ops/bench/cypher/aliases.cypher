// Aliases of artists.
UNWIND $rows AS row
MATCH (record:Record {id: row.record})
MERGE (other:Artist {id: row.id})
ON CREATE SET other.name = row.name
MERGE (record)-[:ALIAS_OF]->(other)
