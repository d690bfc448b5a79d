"""PostgreSQL: the log, its one writer and the projections."""
