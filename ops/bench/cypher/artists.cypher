// Main artists of the releases.
UNWIND $rows AS row
MATCH (release:Release {id: row.release})
MERGE (artist:Artist {id: row.id})
ON CREATE SET artist.name = row.name
MERGE (release)-[:BY]->(artist)
