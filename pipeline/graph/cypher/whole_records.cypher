// The properties of these records' nodes, and every relationship that such a record alone asserts, as in `stored_records`.
UNWIND $ids AS id
MATCH (n:@label {id: id})
WHERE n.fingerprint IS NOT NULL
RETURN collect([properties(n), COLLECT {
  MATCH (n)-[link:@types]-(end)
  WHERE startNode(link) = n OR type(link) = "CREDITED_ON"
  RETURN [
    type(link), head(labels(end)), coalesce(end.id, end.name),
    link.catalog_numbers, link.role, link.category, link.artist_id
  ]
}]) AS records
