"""Control: agent sessions, as the Mission API of sandboxed.sh speaks of them."""
