// Labels of the releases.
UNWIND $rows AS row
MATCH (release:Release {id: row.release})
MERGE (label:Label {id: row.id})
ON CREATE SET label.name = row.name
MERGE (release)-[on:ON]->(label)
SET on.catalog_numbers = row.catalog_numbers
