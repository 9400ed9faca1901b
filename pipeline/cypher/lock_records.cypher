// As `merge_numbered`, and holds every node still until the end of the transaction: records of these types are
// rewritten in place, and relationships that two records assert are decided by reading both ends.
// Setting a label that is there writes nothing, but takes the lock.
UNWIND $ends AS end
MERGE (n:@label {id: end.id})
ON CREATE SET n.name = end.name
SET n:@label
FOREACH (_ IN CASE WHEN n.fingerprint IS NULL AND end.name <> coalesce(n.name, "") THEN [1] ELSE [] END |
  SET n.name = end.name)
