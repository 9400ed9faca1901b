// The other ends with the label @label, as a list. A stub keeps the newest name.
CALL () {
  UNWIND range(0, size($batch.@label) - 1) AS place
  WITH place, $batch.@label[place] AS end
  MERGE (n:@label {id: end.id})
  FOREACH (_ IN CASE WHEN n.fingerprint IS NULL AND end.name <> coalesce(n.name, "") THEN [1] ELSE [] END |
    SET n.name = end.name)
  WITH n ORDER BY place
  RETURN collect(n) AS @ends
}
