// Locks nodes at which a derived relationship is about to start. Their record may begin to imply it without a new
// relationship of theirs; a transaction that withdraws the last other reason must wait and look again.
UNWIND $keys AS key
MATCH (n:@label {@key: key})
SET n:@label
