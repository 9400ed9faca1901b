// Which genre a style belongs to, where a record has the style and just one genre.
MATCH (style:Style), (genre:Genre)
CALL (style, genre) {
  WITH style, genre
  WHERE NOT EXISTS { (style)-[:PART_OF]->(genre) } AND EXISTS {
    MATCH (style)<-[:IS]-(record)-[:IS]->(genre)
    WHERE COUNT { (record)-[:IS]->(:Genre) } = 1
  }
  CREATE (style)-[:PART_OF]->(genre)
} IN TRANSACTIONS OF 1000 ROWS
