// A node with up to $limit relationships of each type and direction, and up to eight that each neighbour has to others.
MATCH (centre:@label {@key: $key})
OPTIONAL CALL (centre) {
  @steps
}
OPTIONAL CALL (near) {
  MATCH (near)-[second]->(far) RETURN second, far LIMIT 8
}
RETURN centre, first, near, second, far
