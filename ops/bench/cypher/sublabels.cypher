// Sublabels of labels.
UNWIND $rows AS row
MATCH (record:Record {id: row.record})
MERGE (other:Label {id: row.id})
ON CREATE SET other.name = row.name
MERGE (other)-[:SUBLABEL_OF]->(record)
