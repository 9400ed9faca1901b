// Run after `assert_shared`: where the end that does not assert a relationship is no record, or names no such end at
// all, its fingerprint says so already (see `withdraw_shared`), and `asserted_by` goes.
UNWIND $ids AS id
MATCH (:@label {id: id})-[shared:@type]-(:@label)
WHERE shared.asserted_by IS NOT NULL
WITH DISTINCT shared, startNode(shared) AS start, endNode(shared) AS end
WHERE CASE WHEN shared.asserted_by = start.id
  THEN coalesce(end.fingerprint, 0) % 2 = 0
  ELSE coalesce(start.fingerprint, 0) % 4 < 2
END
SET shared.asserted_by = null
