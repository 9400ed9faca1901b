// Drop one index.
DROP INDEX $name
