// Which masters they are versions of.
UNWIND $rows AS row
MATCH (release:Release {id: row.release})
MERGE (master:Master {id: row.id})
MERGE (release)-[:DERIVED_FROM]->(master)
