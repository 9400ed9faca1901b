// A graph of MAPPING_VERSION 1 has relationships without flags. Until the record of an end is rewritten, it counts as
// asserting them; rewriting it then withdraws what it does not assert.
UNWIND $ids AS id
MATCH (:@label {id: id})-[shared:@types]-(:@label)
WHERE shared.asserted_by_start IS NULL AND shared.asserted_by_end IS NULL
WITH DISTINCT shared
SET shared.asserted_by_start = CASE WHEN startNode(shared).fingerprint IS NOT NULL THEN true END,
  shared.asserted_by_end = CASE WHEN endNode(shared).fingerprint IS NOT NULL THEN true END,
  shared.asserted_by = null
