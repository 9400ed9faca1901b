CALL (@lists) {
  UNWIND $batch.@field AS each
  WITH @records[each[0]] AS record, @ends[each[1]] AS end, each
  CREATE (@start)-[relationship:@type]->(@stop)
  SET @assignments
}
