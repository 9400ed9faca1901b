// Clears a record's flag on relationships that both ends may assert, by their `elementId`. Setting the flag takes the
// relationship's lock, so the other flag is read as it was committed last.
UNWIND $withdrawn AS id
MATCH ()-[shared]->()
WHERE elementId(shared) = id
SET shared.@flag = null
WITH shared
WHERE shared.asserted_by_start IS NULL AND shared.asserted_by_end IS NULL
DELETE shared
