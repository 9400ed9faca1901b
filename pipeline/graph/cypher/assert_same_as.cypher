// Who each credited name is, where a credit says so.
MATCH (person:Person)
CALL (person) {
  MATCH (person)-[credit:CREDITED_ON]->(:Release)
  WITH DISTINCT person, credit.artist_id AS id
  WHERE id IS NOT NULL
  MERGE (artist:Artist {id: id})
  MERGE (person)-[:SAME_AS]->(artist)
} IN TRANSACTIONS OF 1000 ROWS
