// A stub becomes a record, a record its newest version: properties that it no longer has go.
UNWIND $rows AS row
MATCH (n:@label {id: row.id})
SET n = row.properties
