// Who a credited name is, where no credit says so any more. The person is locked before the answer counts: a
// transaction that adds such a credit shares that lock, and asserts the relationship after it.
MATCH (person:Person)-[same:SAME_AS]->(artist:Artist)
WHERE NOT EXISTS {
  MATCH (person)-[credit:CREDITED_ON]->(:Release)
  WHERE credit.artist_id = artist.id
}
CALL (person, same, artist) {
  SET person:Person
  WITH person, same, artist
  WHERE NOT EXISTS {
    MATCH (person)-[credit:CREDITED_ON]->(:Release)
    WHERE credit.artist_id = artist.id
  }
  DELETE same
} IN TRANSACTIONS OF 1000 ROWS
