// One index less.
DROP INDEX $name
