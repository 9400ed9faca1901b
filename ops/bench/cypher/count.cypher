// Number of releases, from the server's own count.
MATCH (release:Release)
RETURN count(release) AS number
