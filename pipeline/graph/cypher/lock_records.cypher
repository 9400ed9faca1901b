// Locks the nodes of the records that are about to be written, and those of their type that they refer to; creates
// missing ones. Setting a label that is there writes nothing, but takes the lock; locks are taken in the order given,
// sorted. The fingerprints are read behind them: in one row, see `fingerprints`.
UNWIND $ids AS id
MERGE (n:@label {id: id})
SET n:@label
WITH n WHERE n.fingerprint IS NOT NULL
RETURN collect(n.id) AS ids, collect(n.fingerprint) AS fingerprints
