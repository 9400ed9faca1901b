// The relationships of one type that these nodes have with others of their label: id of the start, id of the end, ids
// of those ends that are records of upstream tasks and assert it.
UNWIND $ids AS id
MATCH (:@label {id: id})-[shared:@type]-(:@label)
WITH DISTINCT shared, startNode(shared) AS start, endNode(shared) AS end
RETURN collect([
  start.id,
  end.id,
  [each IN [[start, shared.asserted_by_start], [end, shared.asserted_by_end]] WHERE each[0].upstream AND each[1] | each[0].id]
]) AS pairs
