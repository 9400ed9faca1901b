// Every key is unique: MERGE finds it by the constraint's index, and two transactions cannot both create it.
CREATE CONSTRAINT artist_id IF NOT EXISTS FOR (n:Artist) REQUIRE n.id IS UNIQUE;
CREATE CONSTRAINT label_id IF NOT EXISTS FOR (n:Label) REQUIRE n.id IS UNIQUE;
CREATE CONSTRAINT master_id IF NOT EXISTS FOR (n:Master) REQUIRE n.id IS UNIQUE;
CREATE CONSTRAINT release_id IF NOT EXISTS FOR (n:Release) REQUIRE n.id IS UNIQUE;
CREATE CONSTRAINT genre_name IF NOT EXISTS FOR (n:Genre) REQUIRE n.name IS UNIQUE;
CREATE CONSTRAINT style_name IF NOT EXISTS FOR (n:Style) REQUIRE n.name IS UNIQUE;
CREATE CONSTRAINT person_name IF NOT EXISTS FOR (n:Person) REQUIRE n.name IS UNIQUE;

CREATE INDEX release_year IF NOT EXISTS FOR (n:Release) ON (n.year);
CREATE INDEX master_year IF NOT EXISTS FOR (n:Master) ON (n.year);

CREATE FULLTEXT INDEX artist_name_text IF NOT EXISTS FOR (n:Artist) ON EACH [n.name];
CREATE FULLTEXT INDEX label_name_text IF NOT EXISTS FOR (n:Label) ON EACH [n.name];
CREATE FULLTEXT INDEX person_name_text IF NOT EXISTS FOR (n:Person) ON EACH [n.name];
CREATE FULLTEXT INDEX release_title_text IF NOT EXISTS FOR (n:Release) ON EACH [n.title];
CREATE FULLTEXT INDEX master_title_text IF NOT EXISTS FOR (n:Master) ON EACH [n.title];
