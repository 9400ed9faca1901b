// Series of releases.
UNWIND $rows AS row
MATCH (record:Record {id: row.record})
MERGE (label:Label {id: row.id})
ON CREATE SET label.name = row.name
MERGE (record)-[:IN_SERIES {number: row.number}]->(label)
