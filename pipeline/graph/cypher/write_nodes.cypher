// The nodes of the records, as a list. No property of an earlier version stays, but what is counted does.
CALL () {
  UNWIND range(0, size($batch.records) - 1) AS place
  WITH place, $batch.records[place] AS record
  MERGE (n:@label {id: record.id})
  SET n = @properties
  WITH n ORDER BY place
  RETURN collect(n) AS records
}
