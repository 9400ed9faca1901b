// Masters of the releases.
UNWIND $rows AS row
MATCH (release:Release {id: row.release})
MERGE (master:Master {id: row.id})
MERGE (release)-[:DERIVED_FROM]->(master)
