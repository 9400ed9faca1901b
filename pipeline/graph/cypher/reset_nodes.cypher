// Records that are removed: the nodes keep what a stub may have. `delete_orphans` deletes those that nothing refers to.
UNWIND $ids AS id
MATCH (n:@label {id: id})
SET n = n {@kept}
