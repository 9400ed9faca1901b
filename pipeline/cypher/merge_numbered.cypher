// Ends of relationships that are known by id, in the order given: sorted, so that transactions that want the
// same nodes queue up instead of blocking one another. A name is kept on stubs only, the newest one.
UNWIND $ends AS end
MERGE (n:@label {id: end.id})
ON CREATE SET n.name = end.name
FOREACH (_ IN CASE WHEN n.fingerprint IS NULL AND end.name <> coalesce(n.name, "") THEN [1] ELSE [] END |
  SET n.name = end.name)
