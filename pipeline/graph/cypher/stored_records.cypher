// What the graph holds of these records: every relationship that such a record alone asserts, with the
// label and key of its other end. One row: the server collects it faster than the driver can take rows one by one.
UNWIND $ids AS id
MATCH (n:@label {id: id})
RETURN collect([id, COLLECT {
  MATCH (n)-[link:@types]-(end)
  WHERE startNode(link) = n OR type(link) = "CREDITED_ON"
  RETURN [
    elementId(link), type(link), head(labels(end)), coalesce(end.id, end.name),
    link.catalog_numbers, link.role, link.category, link.artist_id
  ]
}]) AS records
