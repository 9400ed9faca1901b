// As `merge_nodes`; a stub takes the newest name. Its record may be written at this moment: the label, which is there, is
// set for its lock, and the fingerprint is read again behind it.
CALL () {
  UNWIND range(0, size($batch.@label) - 1) AS place
  WITH place, $batch.names.@label[place] AS name
  MERGE (n:@label {@key: $batch.@label[place]})
  FOREACH (_ IN CASE WHEN n.fingerprint IS NULL AND name <> coalesce(n.name, "") THEN [1] ELSE [] END |
    SET n:@label
    SET n.name = CASE WHEN n.fingerprint IS NULL THEN name ELSE n.name END)
  WITH n ORDER BY place
  RETURN collect(n) AS @nodes
}
