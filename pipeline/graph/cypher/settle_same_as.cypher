// As `withdraw_same_as`, for every person; nothing writes meanwhile.
MATCH (person:Person)-[same:SAME_AS]->(artist:Artist)
WHERE NOT EXISTS {
  MATCH (person)-[credit:CREDITED_ON]->(:Release)
  WHERE credit.artist_id = artist.id
}
CALL (same) {
  DELETE same
} IN TRANSACTIONS OF 1000 ROWS
