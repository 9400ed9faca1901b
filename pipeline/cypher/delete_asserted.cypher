// Relationships that the earlier versions of these records alone asserted.
UNWIND $ids AS id
MATCH (:@label {id: id})-[asserted:@types]->()
DELETE asserted
