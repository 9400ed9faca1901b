// Main artists of releases and masters.
UNWIND $rows AS row
MATCH (record:Record {id: row.record})
MERGE (artist:Artist {id: row.id})
ON CREATE SET artist.name = row.name
MERGE (record)-[by:BY]->(artist)
SET by.position = row.position, by.credited_as = row.credited_as, by.join = row.join
