// Which genre a style belongs to, where no record with that style and just one genre is left; each of $lost is
// [style, genre]. See `withdraw_same_as` for the lock.
UNWIND $lost AS pair
MATCH (style:Style {name: pair[0]})-[part:PART_OF]->(genre:Genre {name: pair[1]})
SET style:Style
WITH style, part, genre
WHERE NOT EXISTS {
  MATCH (style)<-[:IS]-(record)-[:IS]->(genre)
  WHERE COUNT { (record)-[:IS]->(:Genre) } = 1
}
DELETE part
