// A graph of MAPPING_VERSION 1 has relationships without flags. `asserted_by` names the one end that asserts it, where
// both are records. Without it, each end does that is a record and names any such end, which the lowest bits of its
// fingerprint tell: bit 1 for the start, bit 0 for the end. Neither end is rewritten yet, or there would be flags.
UNWIND $ids AS id
MATCH (:@label {id: id})-[shared:@types]-(:@label)
WHERE shared.asserted_by_start IS NULL AND shared.asserted_by_end IS NULL
WITH DISTINCT shared, startNode(shared) AS start, endNode(shared) AS end
SET shared.asserted_by_start = CASE
    WHEN coalesce(shared.asserted_by = start.id, start.fingerprint % 4 >= 2) THEN true
  END,
  shared.asserted_by_end = CASE
    WHEN coalesce(shared.asserted_by = end.id, end.fingerprint % 2 = 1) THEN true
  END
SET shared.asserted_by = null
