// Which genre a style belongs to, wherever a record has just one genre; pairs distinct and sorted.
UNWIND $pairs AS pair
MATCH (style:Style {name: pair.style})
MATCH (genre:Genre {name: pair.genre})
MERGE (style)-[:PART_OF]->(genre)
