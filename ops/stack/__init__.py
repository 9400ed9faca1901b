"""The embedded stack: servers and workers as processes of one folder."""
