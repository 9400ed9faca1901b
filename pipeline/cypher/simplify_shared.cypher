// Run after `assert_shared`: where the end that does not assert a relationship names no such end at all, its
// fingerprint says so already (see `withdraw_shared`), and `asserted_by` goes.
UNWIND $ids AS id
MATCH (:@label {id: id})-[shared:@type]-(:@label)
WHERE shared.asserted_by IS NOT NULL
WITH DISTINCT shared, startNode(shared) AS start, endNode(shared) AS end
WHERE CASE WHEN shared.asserted_by = start.id THEN end.fingerprint % 2 = 0 ELSE start.fingerprint % 4 < 2 END
SET shared.asserted_by = null
