// Credits of releases.
UNWIND $rows AS row
MATCH (record:Record {id: row.record})
MERGE (person:Person {name: row.name})
MERGE (person)-[credit:CREDITED_ON {role: row.role}]->(record)
SET credit.artist_id = row.artist_id
