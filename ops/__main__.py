"""`python -m ops`: the command, where the distribution is not installed."""

from ops.cli import main

main(prog_name="graphinator")
