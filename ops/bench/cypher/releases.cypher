// The releases themselves.
UNWIND $rows AS row
MERGE (release:Release {id: row.id})
SET release += row.properties
