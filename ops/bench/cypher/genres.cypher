// Genres of releases and masters.
UNWIND $rows AS row
MATCH (record:Record {id: row.record})
MERGE (genre:Genre {name: row.name})
MERGE (record)-[:IS]->(genre)
