// Releases or masters, with all that they refer to and all their relationships; nothing of an earlier version is left.
//
// One statement, so that no node is looked up twice: the nodes of each kind become a list, and a relationship names
// its ends by their places in these lists, as in [record, artist]. The ends are distinct and sorted, so that
// transactions that want the same nodes queue up instead of blocking one another. A stub keeps the newest name.
//
// All lists are in one map, $batch: Neo4j plans a statement anew for every combination of parameters' types and sizes.
CALL () {
  UNWIND range(0, size($batch.masters) - 1) AS place
  MERGE (n:Master {id: $batch.masters[place]})
  WITH n ORDER BY place
  RETURN collect(n) AS masters
}
CALL () {
  UNWIND range(0, size($batch.artists) - 1) AS place
  WITH place, $batch.artists[place] AS end
  MERGE (n:Artist {id: end.id})
  FOREACH (_ IN CASE WHEN n.fingerprint IS NULL AND end.name <> coalesce(n.name, "") THEN [1] ELSE [] END |
    SET n.name = end.name)
  WITH n ORDER BY place
  RETURN collect(n) AS artists
}
CALL () {
  UNWIND range(0, size($batch.labels) - 1) AS place
  WITH place, $batch.labels[place] AS end
  MERGE (n:Label {id: end.id})
  FOREACH (_ IN CASE WHEN n.fingerprint IS NULL AND end.name <> coalesce(n.name, "") THEN [1] ELSE [] END |
    SET n.name = end.name)
  WITH n ORDER BY place
  RETURN collect(n) AS labels
}
CALL () {
  UNWIND range(0, size($batch.genres) - 1) AS place
  MERGE (n:Genre {name: $batch.genres[place]})
  WITH n ORDER BY place
  RETURN collect(n) AS genres
}
CALL () {
  UNWIND range(0, size($batch.styles) - 1) AS place
  MERGE (n:Style {name: $batch.styles[place]})
  WITH n ORDER BY place
  RETURN collect(n) AS styles
}
CALL () {
  UNWIND range(0, size($batch.persons) - 1) AS place
  MERGE (n:Person {name: $batch.persons[place]})
  WITH n ORDER BY place
  RETURN collect(n) AS persons
}
CALL () {
  UNWIND range(0, size($batch.records) - 1) AS place
  MERGE (n:@label {id: $batch.records[place].id})
  SET n = $batch.records[place]
  WITH n ORDER BY place
  RETURN collect(n) AS records
}
CALL (records, artists) {
  UNWIND $batch.by AS by
  WITH records[by[0]] AS record, artists[by[1]] AS artist
  CREATE (record)-[:BY]->(artist)
}
CALL (records, labels) {
  UNWIND $batch.on AS on
  WITH records[on[0]] AS record, labels[on[1]] AS label, on[2] AS catalog_numbers
  CREATE (record)-[entry:ON]->(label)
  SET entry.catalog_numbers = catalog_numbers
}
CALL (records, masters) {
  UNWIND $batch.derived_from AS derived
  WITH records[derived[0]] AS record, masters[derived[1]] AS master
  CREATE (record)-[:DERIVED_FROM]->(master)
}
CALL (records, genres) {
  UNWIND $batch.is_genre AS is
  WITH records[is[0]] AS record, genres[is[1]] AS genre
  CREATE (record)-[:IS]->(genre)
}
CALL (records, styles) {
  UNWIND $batch.is_style AS is
  WITH records[is[0]] AS record, styles[is[1]] AS style
  CREATE (record)-[:IS]->(style)
}
CALL (records, persons) {
  UNWIND $batch.credited_on AS credited
  WITH persons[credited[0]] AS person, records[credited[1]] AS record,
    credited[2] AS role, credited[3] AS category, credited[4] AS artist_id
  CREATE (person)-[credit:CREDITED_ON]->(record)
  SET credit.role = role, credit.category = category, credit.artist_id = artist_id
}
// What follows: who a credited name is, and which genre a style belongs to.
CALL (persons, artists) {
  UNWIND $batch.same_as AS same
  WITH persons[same[0]] AS person, artists[same[1]] AS artist
  MERGE (person)-[:SAME_AS]->(artist)
}
CALL (styles, genres) {
  UNWIND $batch.part_of AS part
  WITH styles[part[0]] AS style, genres[part[1]] AS genre
  MERGE (style)-[:PART_OF]->(genre)
}
