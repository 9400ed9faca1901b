// Locks the nodes of the records that are about to be written, and those of their type that they refer to; creates
// missing ones. Setting a label that is there writes nothing, but takes the lock; locks are taken in the order given,
// sorted. Only stubs take a name, the newest one.
UNWIND $ends AS end
MERGE (n:@label {id: end.id})
SET n:@label
FOREACH (_ IN CASE WHEN n.fingerprint IS NULL AND end.name <> coalesce(n.name, "") THEN [1] ELSE [] END |
  SET n.name = end.name)
