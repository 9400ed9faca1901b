CALL (@starts, @ends) {
  UNWIND $batch.@type AS each
  WITH @starts[each[0]] AS start, @ends[each[1]] AS end
  MERGE (start)-[:@type]->(end)
}
