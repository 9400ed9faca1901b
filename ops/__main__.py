"""`python -m ops`: the command `graphinator` where no script is installed, as in the image."""

from ops.cli import main

main(prog_name="graphinator")
