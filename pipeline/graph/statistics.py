"""The statistics on Genre, Style, Label and Artist nodes, counted once a load has ended."""

from pipeline.graph.cypher import statement
from pipeline.graph.driver import Driver, graph_errors, run_alone

#: The relationship from releases to each label whose nodes have statistics.
COUNTED = {"Artist": "BY", "Label": "ON", "Genre": "IS", "Style": "IS"}


@graph_errors()
async def count(driver: Driver) -> None:
    """Count all statistics. Nothing may write to the graph meanwhile.

    Idempotent, and of bounded memory: the server commits in parts, and writes only what has changed.
    Raises GraphUnavailable, after which it may be repeated, or GraphRejected.
    """
    for label, type_ in COUNTED.items():
        await run_alone(driver, statement("count_releases", label=label, type=type_))
    artists, labels = await _count_ends(driver, "Artist"), await _count_ends(driver, "Label")
    counts = [[*kind, artists.get(kind), labels.get(kind)] for kind in sorted(artists.keys() | labels.keys())]
    await run_alone(driver, statement("set_end_counts"), counts=counts)
    await run_alone(driver, statement("count_part_of", label="Style", other="Genre", property="genre_count"))
    await run_alone(driver, statement("count_part_of", label="Genre", other="Style", property="style_count"))


async def _count_ends(driver: Driver, label: str) -> dict[tuple[str, str], int]:
    """Return the number of artists or labels by label and name of genre or style."""
    (row,) = await run_alone(driver, statement("count_ends", label=label, type=COUNTED[label]))
    return {(kind, name): number for kind, name, number in row["counts"]}
