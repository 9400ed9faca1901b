// A stub becomes a record, a record its newest version: a property that it no longer has is null in its row, and goes.
// What is computed stays.
UNWIND $rows AS row
MATCH (n:@label {id: row.id})
SET n += row.properties
