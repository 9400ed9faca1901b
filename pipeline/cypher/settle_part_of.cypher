// Which genre a style belongs to, where no record with that style and just one genre is left (see `settle_same_as`
// for the lock).
MATCH (style:Style)-[part:PART_OF]->(genre:Genre)
WHERE NOT EXISTS {
  MATCH (style)<-[:IS]-(record)-[:IS]->(genre)
  WHERE COUNT { (record)-[:IS]->(:Genre) } = 1
}
CALL (style, part, genre) {
  SET style:Style
  WITH style, part, genre
  WHERE NOT EXISTS {
    MATCH (style)<-[:IS]-(record)-[:IS]->(genre)
    WHERE COUNT { (record)-[:IS]->(:Genre) } = 1
  }
  DELETE part
} IN TRANSACTIONS OF 1000 ROWS
