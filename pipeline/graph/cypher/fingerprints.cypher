// The ids among $ids that records define, with their fingerprints, in one row: the server collects
// them faster than the driver can take rows one by one.
UNWIND $ids AS id
MATCH (n:@label {id: id})
WHERE n.fingerprint IS NOT NULL
RETURN collect(n.id) AS ids, collect(n.fingerprint) AS fingerprints
