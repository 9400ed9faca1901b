// The nodes of these records, and the relationships that each record asserts: label and key of the other end,
// properties. One row: the server collects it faster than the driver can take rows one by one.
UNWIND $ids AS id
MATCH (n:@label {id: id})
WHERE n.fingerprint IS NOT NULL
RETURN collect([@node, COLLECT {
  MATCH (n)-[r:@types]-(end)
  WHERE CASE WHEN startNode(r) = n
    THEN type(r) IN $outgoing AND (r.asserted_by_start OR r.asserted_by_end IS NULL)
    ELSE type(r) IN $incoming AND (r.asserted_by_end OR r.asserted_by_start IS NULL)
  END
  RETURN [elementId(r), type(r), startNode(r) = n, head(labels(end)), coalesce(end.id, end.name), properties(r)]
}]) AS records
