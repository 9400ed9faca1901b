// Counts the artists, or labels, that have a release of each genre and style: [label, name, number]. Walks from node to
// node, so that the server holds one node's genres and styles at a time.
MATCH (n:@label)
WHERE EXISTS { (n)<-[:@type]-() }
CALL (n) {
  MATCH (n)<-[:@type]-(:Release)-[:IS]->(kind)
  RETURN DISTINCT kind
}
WITH kind, count(*) AS number
RETURN collect([head(labels(kind)), kind.name, number]) AS counts
