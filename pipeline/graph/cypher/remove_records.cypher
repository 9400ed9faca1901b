// Records that are no more: of their nodes the key stays and, of an artist or label, the name, as in a stub that
// something refers to, and what is computed. `delete_orphans` looks at those that nothing refers to.
UNWIND $ids AS id
MATCH (n:@label {id: id})
SET n += $nothing
