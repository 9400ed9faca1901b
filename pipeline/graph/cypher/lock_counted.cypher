// Holds still the nodes whose counts are about to change, each kind sorted; makes those that are new, so that two
// transactions cannot both take them for new. Setting a label that is there writes nothing, but takes the lock.
CALL () {
  UNWIND $artists AS id
  MERGE (n:Artist {id: id})
  SET n:Artist
}
CALL () {
  UNWIND $labels AS id
  MERGE (n:Label {id: id})
  SET n:Label
}
CALL () {
  UNWIND $genres AS name
  MERGE (n:Genre {name: name})
  SET n:Genre
}
CALL () {
  UNWIND $styles AS name
  MERGE (n:Style {name: name})
  SET n:Style
}
