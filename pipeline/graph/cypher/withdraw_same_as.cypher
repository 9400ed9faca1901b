// Who a credited name is, where no credit says so any more; each of $lost is [person, artist id]. The person is locked
// before the answer counts: a transaction that adds such a credit shares that lock, and asserts the relationship after it.
UNWIND $lost AS pair
MATCH (person:Person {name: pair[0]})-[same:SAME_AS]->(artist:Artist {id: pair[1]})
SET person:Person
WITH person, same, artist
WHERE NOT EXISTS {
  MATCH (person)-[credit:CREDITED_ON]->(:Release)
  WHERE credit.artist_id = artist.id
}
DELETE same
