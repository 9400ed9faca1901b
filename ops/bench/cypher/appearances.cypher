// Artists of the tracks of releases.
UNWIND $rows AS row
MATCH (record:Record {id: row.record})
MERGE (artist:Artist {id: row.id})
ON CREATE SET artist.name = row.name
MERGE (artist)-[on:APPEARS_ON]->(record)
SET on.tracks = row.tracks, on.credited_as = row.credited_as
