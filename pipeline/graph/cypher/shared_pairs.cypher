// The relationships of one type that these nodes have with others of their label: [id of the start, id of the end].
UNWIND $ids AS id
MATCH (:@label {id: id})-[shared:@type]-(:@label)
WITH DISTINCT shared
RETURN collect([startNode(shared).id, endNode(shared).id]) AS pairs
