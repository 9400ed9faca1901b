// Styles of the releases.
UNWIND $rows AS row
MATCH (release:Release {id: row.release})
MERGE (style:Style {name: row.name})
MERGE (release)-[:IS]->(style)
