// Delete all nodes; constraints and indexes stay.
MATCH (n)
CALL (n) {
  DELETE n
} IN TRANSACTIONS OF 20000 ROWS
