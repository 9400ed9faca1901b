// Holds still the other ends of all relationships that these records share with another record, so that what
// `withdraw_shared` reads there stays true. Setting a label that is there writes nothing, but takes the lock.
UNWIND $rows AS row
MATCH (:@label {id: row.id})-[:@type]-(other:@label)
WITH DISTINCT other ORDER BY other.id
SET other:@label
