// Labels of releases.
UNWIND $rows AS row
MATCH (record:Record {id: row.record})
MERGE (label:Label {id: row.id})
ON CREATE SET label.name = row.name
MERGE (record)-[on:ON]->(label)
SET on.catalog_numbers = row.catalog_numbers
