// Locks the nodes that these records share relationships with. Setting a label that is there writes nothing, but
// takes the lock.
UNWIND $ids AS id
MATCH (:@label {id: id})-[:@types]-(other:@label)
WITH DISTINCT other ORDER BY other.id
SET other:@label
