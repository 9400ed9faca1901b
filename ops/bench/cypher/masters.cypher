// Masters of releases.
UNWIND $rows AS row
MATCH (record:Record {id: row.record})
MERGE (master:Master {id: row.id})
MERGE (record)-[:DERIVED_FROM]->(master)
