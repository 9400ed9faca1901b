// Credits of the releases.
UNWIND $rows AS row
MATCH (release:Release {id: row.release})
MERGE (person:Person {name: row.name})
MERGE (person)-[credit:CREDITED_ON {role: row.role}]->(release)
SET credit.artist_id = row.artist_id
