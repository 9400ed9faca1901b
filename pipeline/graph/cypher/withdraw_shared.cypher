// The records $rows are about to be written or removed: what their earlier versions asserted of relationships that two
// records share, and what no record among these asserts now (`outgoing`, `incoming`: the ends that one does), is
// withdrawn. Run before their new fingerprints are set. Gives the ids of the ends that lost a relationship.
//
// A relationship lives while one of its ends asserts it. `asserted_by` names the only one that does where both
// ends are records. Without it every end does that is a record and names any such end at all, which the lowest
// bits of its fingerprint say: bit 1 for the end that the relationship starts at, bit 0 for the other.
UNWIND $rows AS row
MATCH (n:@label {id: row.id})-[shared:@type]-(other:@label)
WHERE NOT other.id IN CASE WHEN startNode(shared) = n THEN row.outgoing ELSE row.incoming END
WITH DISTINCT shared, n, other,
  CASE WHEN startNode(shared) = other THEN other.fingerprint % 4 >= 2 ELSE other.fingerprint % 2 = 1 END AS names
WITH shared, n, other,
  other.fingerprint IS NOT NULL AND coalesce(shared.asserted_by = other.id, names)
  AND NOT other.id IN $ids AS kept
FOREACH (_ IN CASE WHEN kept THEN [1] ELSE [] END | SET shared.asserted_by = other.id)
FOREACH (_ IN CASE WHEN kept THEN [] ELSE [1] END | DELETE shared)
WITH CASE WHEN kept THEN null ELSE other.id END AS lost
RETURN collect(DISTINCT lost) AS lost
