// A relationship that both ends may assert: each record sets the flag of its own side.
CALL (@lists) {
  UNWIND $batch.@field AS each
  WITH @records[each[0]] AS record, @ends[each[1]] AS end
  MERGE (@start)-[shared:@type]->(@stop)
  SET shared.@flag = true
}
