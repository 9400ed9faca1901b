// Styles of releases and masters.
UNWIND $rows AS row
MATCH (record:Record {id: row.record})
MERGE (style:Style {name: row.name})
MERGE (record)-[:IS]->(style)
