// Credits of releases and their tracks.
UNWIND $rows AS row
MATCH (record:Record {id: row.record})
MERGE (person:Person {name: row.name})
MERGE (person)-[credit:CREDITED_ON {role: row.role, detail: row.detail, artist_id: row.artist_id}]->(record)
SET credit.tracks = row.tracks, credit.credited_as = row.credited_as
