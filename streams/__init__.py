"""Events in motion: channels, feeds, the hub and the transports. Knows no SQL and no mission rule."""
