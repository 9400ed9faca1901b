CALL (records, @ends) {
  UNWIND $batch.@field AS each
  WITH records[each[0]] AS record, @ends[each[1]] AS end, each[2] AS properties
  CREATE (@start)-[relationship:@type]->(@stop)
  SET relationship = properties
}
