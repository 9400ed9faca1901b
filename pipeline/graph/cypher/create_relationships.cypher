CALL (@lists) {
  UNWIND $batch.@field AS each
  WITH @records[each[0]] AS record, @ends[each[1]] AS end
  CREATE (@start)-[:@type]->(@stop)
}
