// Hashes for records that the other way has loaded.
UNWIND $rows AS row
MATCH (record:Record {id: row.id})
SET record.sha256 = row.sha256
