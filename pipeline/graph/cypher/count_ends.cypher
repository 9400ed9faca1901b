// How many artists, or labels, have a release of each genre, or style: [name, number]. Goes from node to node, so that
// no more is held in memory than one node's genres or styles and the numbers.
MATCH (n:@label)
CALL (n) {
  MATCH (n)<-[:@type]-(:Release)-[:IS]->(kind:@kind)
  RETURN DISTINCT kind
}
WITH kind.name AS name, count(*) AS number
RETURN collect([name, number]) AS counts
