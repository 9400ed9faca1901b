// As `withdraw_part_of`, for every style; nothing writes meanwhile.
MATCH (style:Style)-[part:PART_OF]->(genre:Genre)
WHERE NOT EXISTS {
  MATCH (style)<-[:IS]-(record)-[:IS]->(genre)
  WHERE COUNT { (record)-[:IS]->(:Genre) } = 1
}
CALL (part) {
  DELETE part
} IN TRANSACTIONS OF 1000 ROWS
