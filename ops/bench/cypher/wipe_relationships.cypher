// Delete all relationships, before `wipe`: otherwise its transactions hold all relationships of their nodes.
MATCH ()-[r]->()
CALL (r) {
  DELETE r
} IN TRANSACTIONS OF 50000 ROWS
