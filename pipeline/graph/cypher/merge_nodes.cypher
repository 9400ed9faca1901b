// The nodes with the label @label, as a list.
CALL () {
  UNWIND range(0, size($batch.@label) - 1) AS place
  MERGE (n:@label {@key: $batch.@label[place]})
  WITH n ORDER BY place
  RETURN collect(n) AS @nodes
}
