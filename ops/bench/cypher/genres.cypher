// Genres of the releases.
UNWIND $rows AS row
MATCH (release:Release {id: row.release})
MERGE (genre:Genre {name: row.name})
MERGE (release)-[:IS]->(genre)
