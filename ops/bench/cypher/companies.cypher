// Companies of releases.
UNWIND $rows AS row
MATCH (record:Record {id: row.record})
MERGE (label:Label {id: row.id})
ON CREATE SET label.name = row.name
MERGE (record)-[:INVOLVES {role: row.role, catalog_number: row.catalog_number}]->(label)
