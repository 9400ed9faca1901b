// Nothing but its own record asserts anything about a release: a changed one is deleted and created anew.
UNWIND $ids AS id
MATCH (release:Release {id: id})
DETACH DELETE release
