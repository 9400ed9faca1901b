// New releases with all their relationships; every end exists. Created, not merged: the releases were
// found missing, or deleted, in this transaction.
UNWIND $rows AS row
CREATE (release:Release)
SET release = row.properties
WITH release, row
CALL (release, row) {
  UNWIND row.artists AS reference
  MATCH (artist:Artist {id: reference.id})
  CREATE (release)-[:BY]->(artist)
}
CALL (release, row) {
  UNWIND row.labels AS reference
  MATCH (label:Label {id: reference.id})
  CREATE (release)-[on:ON]->(label)
  SET on.catalog_numbers = CASE WHEN size(reference.catalog_numbers) > 0 THEN reference.catalog_numbers END
}
CALL (release, row) {
  WITH release, row WHERE row.master IS NOT NULL
  MATCH (master:Master {id: row.master})
  CREATE (release)-[:DERIVED_FROM]->(master)
}
CALL (release, row) {
  UNWIND row.genres AS name
  MATCH (genre:Genre {name: name})
  CREATE (release)-[:IS]->(genre)
}
CALL (release, row) {
  UNWIND row.styles AS name
  MATCH (style:Style {name: name})
  CREATE (release)-[:IS]->(style)
}
CALL (release, row) {
  UNWIND row.credits AS credit
  MATCH (person:Person {name: credit.name})
  CREATE (person)-[on:CREDITED_ON]->(release)
  SET on.role = credit.role, on.category = credit.category, on.artist_id = credit.artist_id
}
