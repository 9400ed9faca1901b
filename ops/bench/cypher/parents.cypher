// Parents of labels.
UNWIND $rows AS row
MATCH (record:Record {id: row.record})
MERGE (other:Label {id: row.id})
ON CREATE SET other.name = row.name
MERGE (record)-[:SUBLABEL_OF]->(other)
