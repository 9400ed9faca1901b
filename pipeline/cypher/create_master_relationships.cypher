// What masters assert; every end exists, and nothing of an earlier version is left.
UNWIND $rows AS row
MATCH (master:Master {id: row.id})
CALL (master, row) {
  UNWIND row.artists AS reference
  MATCH (artist:Artist {id: reference.id})
  CREATE (master)-[:BY]->(artist)
}
CALL (master, row) {
  UNWIND row.genres AS name
  MATCH (genre:Genre {name: name})
  CREATE (master)-[:IS]->(genre)
}
CALL (master, row) {
  UNWIND row.styles AS name
  MATCH (style:Style {name: name})
  CREATE (master)-[:IS]->(style)
}
