// The properties of the records. None of an earlier version stays, but what is counted does.
CALL (@nodes) {
  UNWIND $batch.records AS each
  WITH @nodes[each[0]] AS n, each[1] AS record
  SET n = @properties
}
