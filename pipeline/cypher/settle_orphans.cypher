// Nodes that no record defines and that no relationship reaches. Only Artist, Label and Master
// nodes ever have a fingerprint. A relationship being created shares the lock that is taken before the answer counts.
MATCH (n:@label)
WHERE n.fingerprint IS NULL AND NOT EXISTS { (n)--() }
CALL (n) {
  SET n:@label
  WITH n
  WHERE n.fingerprint IS NULL AND NOT EXISTS { (n)--() }
  DELETE n
} IN TRANSACTIONS OF 1000 ROWS
