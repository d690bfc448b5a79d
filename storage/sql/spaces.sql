-- name: listed
-- The spaces of a workspace ($1), oldest first.
SELECT id, name, path, created_at FROM spaces WHERE workspace_id = $1 ORDER BY created_at, id;

-- name: one
-- A space ($2 of workspace $1).
SELECT id, name, path, created_at FROM spaces WHERE workspace_id = $1 AND id = $2;

-- name: create
-- Makes a space ($2 id, $3 name, $4 path) in a workspace ($1).
INSERT INTO spaces (workspace_id, id, name, path) VALUES ($1, $2, $3, $4) RETURNING id, name, path, created_at;

-- name: ensure
-- Makes a space unless it exists.
INSERT INTO spaces (workspace_id, id, name, path) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;
