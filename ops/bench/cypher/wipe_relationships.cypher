// No relationship; before `wipe`, for which a transaction would otherwise hold all those of its nodes.
MATCH ()-[r]->()
CALL (r) {
  DELETE r
} IN TRANSACTIONS OF 50000 ROWS
