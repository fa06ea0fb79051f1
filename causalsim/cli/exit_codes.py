"""Exit codes of every command."""

HOLDS, FAILS, BAD_INPUT, BUG, INTERRUPTED, UNREAD = 0, 1, 2, 70, 130, 141
