// As `delete_orphans`, for every node; nothing writes meanwhile.
MATCH (n:@label)
WHERE n.fingerprint IS NULL AND NOT EXISTS { (n)--() }
CALL (n) {
  DELETE n
} IN TRANSACTIONS OF 1000 ROWS
