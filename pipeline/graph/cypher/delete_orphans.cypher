// Those of the nodes with the keys $lost that no record defines and that no relationship reaches. Only Artist, Label
// and Master nodes ever have a fingerprint. A relationship being created shares the lock that is taken before the answer
// counts.
UNWIND $lost AS key
MATCH (n:@label {@key: key})
WHERE n.fingerprint IS NULL AND NOT EXISTS { (n)--() }
SET n:@label
WITH n
WHERE n.fingerprint IS NULL AND NOT EXISTS { (n)--() }
DELETE n
